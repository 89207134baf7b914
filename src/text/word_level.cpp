// WordLevel: a word is a token.
#include <fmt/format.h>

#include <utility>

#include "text/model.h"

namespace halftone::text {
namespace {

class WordLevel : public Model {
 public:
  WordLevel(Vocabulary vocabulary, int32_t unknown) : vocabulary_(std::move(vocabulary)), unknown_(unknown) {}

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  bool cacheable() const override { return false; }
  void tokenize(std::string_view word, std::vector<Piece>& out) const override {
    const int32_t id = vocabulary_.id_of(word);
    out.push_back({id == Vocabulary::kNone ? unknown_ : id, 0, static_cast<uint32_t>(word.size())});
  }

 private:
  Vocabulary vocabulary_;
  int32_t unknown_;
};

}  // namespace

std::unique_ptr<Model> read_word_level(JsonObject& model) {
  const JsonAt unknown = model.need("unk_token");
  Vocabulary vocabulary = read_vocabulary(model.need("vocab"));
  model.done();
  const int32_t id = vocabulary.id_of(unknown.text());
  if (id == Vocabulary::kNone)
    unknown.refuse(fmt::format("the vocabulary lacks the token for unknown words, '{}'", unknown.text()));
  return std::make_unique<WordLevel>(std::move(vocabulary), id);
}

}  // namespace halftone::text
