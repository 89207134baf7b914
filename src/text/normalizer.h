// Steps that change the text before it is split.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/aligned.h"
#include "text/json_tree.h"

namespace halftone::text {

// Immutable; may be used by many threads at once.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(Aligned& text) const = 0;

  std::string normalized(std::string_view text) const;  // well-formed UTF-8
};

// `normalizer` of a tokenizer.json; nothing for null.
std::unique_ptr<Normalizer> read_normalizer(const JsonAt& at);

struct BertNormalizerOptions {
  bool clean_text = true;
  bool chinese = true;
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<Normalizer> make_bert_normalizer(const BertNormalizerOptions& options);

// Steps that several normalizers have.
void lowercase(Aligned& text);
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
void bring_to_form(Aligned& text, UnicodeForm form);

// Removes what `stays` says no to.
template <class Stays>
void filter_characters(Aligned& text, const Stays& stays) {
  Rewrite out(text);
  while (!out.at_end()) {
    if (stays(out.peek()))
      out.keep();
    else
      out.skip(1);
  }
  text = out.take();
}
template <class To>
void map_characters(Aligned& text, const To& to) {
  Rewrite out(text);
  while (!out.at_end()) out.replace(to(out.peek()));
  text = out.take();
}

}  // namespace halftone::text
