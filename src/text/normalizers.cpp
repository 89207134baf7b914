#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "text/characters.h"
#include "text/normalizer.h"
#include "text/sentence_normalizers.h"

namespace halftone::text {
namespace {

// A step that has a function and nothing else.
template <class Function>
class NormalizerStep : public Normalizer {
 public:
  explicit NormalizerStep(Function function) : function_(std::move(function)) {}
  void apply(Aligned& text) const override { function_(text); }

 private:
  Function function_;
};
template <class Function>
std::unique_ptr<Normalizer> make_normalizer(Function function) {
  return std::make_unique<NormalizerStep<Function>>(std::move(function));
}

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(Aligned& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> read_bert_normalizer(JsonObject& at) {
  BertNormalizerOptions options;
  options.clean_text = at.need("clean_text").flag();
  options.chinese = at.need("handle_chinese_chars").flag();
  options.lowercase = at.need("lowercase").flag();
  options.strip_accents = at.flag("strip_accents", options.lowercase);
  return make_bert_normalizer(options);
}

std::unique_ptr<Normalizer> read_normalizers(JsonObject& at) {
  const JsonAt list = at.need("normalizers");
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (size_t i = 0; i < list.list().size(); ++i) {
    steps.push_back(read_normalizer(list.item(i)));
    if (steps.back() == nullptr) list.item(i).refuse("expected a normalizer, got null");
  }
  return std::make_unique<NormalizerSequence>(std::move(steps));
}

std::unique_ptr<Normalizer> make_form(UnicodeForm form) {
  return make_normalizer([form](Aligned& text) { bring_to_form(text, form); });
}

void strip(Aligned& text, bool left, bool right) {
  // Of what is no white space.
  size_t begin = text.text.size();
  size_t end = 0;
  for (size_t at = 0; at < text.text.size();) {
    const size_t first = at;
    if (is_white_space(next_character(text.text, at))) continue;
    begin = std::min(begin, first);
    end = at;
  }
  if (!left) begin = 0;
  if (!right) end = text.text.size();
  if (begin >= end) {
    text = {};
    return;
  }
  text.text.resize(end);
  text.text.erase(0, begin);
  text.from.resize(end);
  text.from.erase(text.from.begin(), text.from.begin() + static_cast<std::ptrdiff_t>(begin));
}

std::unique_ptr<Normalizer> read_strip(JsonObject& at) {
  const bool left = at.need("strip_left").flag();
  const bool right = at.need("strip_right").flag();
  return make_normalizer([left, right](Aligned& text) { strip(text, left, right); });
}

}  // namespace

std::string Normalizer::normalized(std::string_view text) const {
  Aligned out;
  out.text = text;
  out.from.resize(text.size());
  apply(out);
  return out.text;
}

std::unique_ptr<Normalizer> read_normalizer(const JsonAt& json) {
  if (json.is_null()) return nullptr;
  JsonObject at(json);
  const JsonAt type_at = at.need("type");
  const std::string& type = type_at.text();
  std::unique_ptr<Normalizer> out;
  if (type == "BertNormalizer") out = read_bert_normalizer(at);
  if (type == "Sequence") out = read_normalizers(at);
  if (type == "NFC") out = make_form(UnicodeForm::kNfc);
  if (type == "NFD") out = make_form(UnicodeForm::kNfd);
  if (type == "NFKC") out = make_form(UnicodeForm::kNfkc);
  if (type == "NFKD") out = make_form(UnicodeForm::kNfkd);
  if (type == "Lowercase") out = make_normalizer([](Aligned& text) { lowercase(text); });
  if (type == "Strip") out = read_strip(at);
  if (type == "StripAccents")
    out = make_normalizer(
        [](Aligned& text) { filter_characters(text, [](char32_t c) { return !is_combining_mark(c); }); });
  if (type == "Replace") out = read_replace(at);
  if (type == "Prepend") out = read_prepend(at);
  if (type == "Precompiled") out = read_precompiled(at);
  if (type == "Nmt") out = make_nmt();
  if (type == "ByteLevel") out = make_byte_level_normalizer();
  if (out == nullptr)
    type_at.refuse(fmt::format("the normalizer '{}' is not understood", type.substr(0, 60)));
  at.done();
  return out;
}

}  // namespace halftone::text
