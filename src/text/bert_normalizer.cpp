// BERT's: clean the text, put spaces around ideographs, strip accents, lowercase.
#include <algorithm>

#include "text/characters.h"
#include "text/normalizer.h"

namespace halftone::text {
namespace {

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const BertNormalizerOptions& options) : options_(options) {}

  void apply(Aligned& text) const override {
    if (options_.clean_text) clean(text);
    if (!is_ascii(text.text)) {
      if (options_.chinese) surround_chinese(text);
      if (options_.strip_accents) {
        bring_to_form(text, UnicodeForm::kNfd);
        filter_characters(text, [](char32_t c) { return !is_nonspacing_mark(c); });
      }
    }
    if (options_.lowercase) lowercase(text);
  }

 private:
  static bool is_plain(char c) { return c >= ' ' && c <= '~'; }

  static void clean(Aligned& text) {
    if (std::all_of(text.text.begin(), text.text.end(), is_plain)) return;
    Rewrite out(text);
    while (!out.at_end()) {
      const char32_t c = out.peek();
      if (c == 0 || c == 0xFFFD || is_bert_control(c))
        out.skip(1);
      else
        out.replace(is_white_space(c) ? U' ' : c);
    }
    text = out.take();
  }

  static void surround_chinese(Aligned& text) {
    Rewrite out(text);
    while (!out.at_end()) {
      const char32_t c = out.peek();
      if (!is_chinese(c)) {
        out.keep();
        continue;
      }
      out.replace(U' ');
      out.add(c);
      out.add(U' ');
    }
    text = out.take();
  }

  BertNormalizerOptions options_;
};

}  // namespace

std::unique_ptr<Normalizer> make_bert_normalizer(const BertNormalizerOptions& options) {
  return std::make_unique<BertNormalizer>(options);
}

}  // namespace halftone::text
