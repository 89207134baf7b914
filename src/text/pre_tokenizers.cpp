#include <fmt/format.h>

#include <utility>
#include <vector>

#include "text/characters.h"
#include "text/pre_tokenizer.h"

namespace halftone::text {
namespace {

// Splits at what a matcher finds.
class SplitAt : public PreTokenizer {
 public:
  SplitAt(Matcher matcher, Behavior behavior) : matcher_(std::move(matcher)), behavior_(behavior) {}
  void apply(Words& words) const override { split_words(words, matcher_, behavior_); }

 private:
  Matcher matcher_;
  Behavior behavior_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(Words& words) const override {
    for (const auto& step : steps_) step->apply(words);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

// Words without the white space between them, punctuation characters apart.
class BertPreTokenizer : public PreTokenizer {
 public:
  void apply(Words& words) const override {
    static const Matcher kSpace = match_characters(is_white_space);
    static const Matcher kPunctuation = match_characters(is_punctuation);
    split_words(words, kSpace, Behavior::kRemoved);
    split_words(words, kPunctuation, Behavior::kIsolated);
  }
};

std::unique_ptr<PreTokenizer> read_pre_tokenizers(JsonObject& at) {
  const JsonAt list = at.need("pretokenizers");
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (size_t i = 0; i < list.list().size(); ++i) {
    steps.push_back(read_pre_tokenizer(list.item(i)));
    if (steps.back() == nullptr) list.item(i).refuse("expected a pre-tokenizer, got null");
  }
  return std::make_unique<PreTokenizerSequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<PreTokenizer> make_bert_pre_tokenizer() {
  return std::make_unique<BertPreTokenizer>();
}

std::unique_ptr<PreTokenizer> read_pre_tokenizer(const JsonAt& json) {
  if (json.is_null()) return nullptr;
  JsonObject at(json);
  const JsonAt type_at = at.need("type");
  const std::string& type = type_at.text();
  std::unique_ptr<PreTokenizer> out;
  if (type == "BertPreTokenizer") out = make_bert_pre_tokenizer();
  if (type == "WhitespaceSplit")
    out = std::make_unique<SplitAt>(match_characters(is_white_space), Behavior::kRemoved);
  if (type == "Sequence") out = read_pre_tokenizers(at);
  if (out == nullptr)
    type_at.refuse(fmt::format("the pre-tokenizer '{}' is not understood", type.substr(0, 60)));
  at.done();
  return out;
}

}  // namespace halftone::text
