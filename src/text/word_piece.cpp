// WordPiece: the longest token that a word begins with, again and again.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/aligned.h"
#include "text/byte_trie.h"
#include "text/model.h"

namespace halftone::text {
namespace {

class WordPiece : public Model {
 public:
  WordPiece(Vocabulary vocabulary, const WordPieceOptions& options)
      : vocabulary_(std::move(vocabulary)), options_(options), unknown_(vocabulary_.id_of(options.unknown)) {
    vocabulary_.for_each([&](std::string_view token, int32_t id) { trie_.add(token, id); });
    continuing_ = trie_.walk(options_.prefix);
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

  void tokenize(std::string_view word, std::vector<Piece>& out) const override {
    const auto bytes = static_cast<uint32_t>(word.size());
    const size_t before = out.size();
    if (static_cast<int64_t>(character_count(word)) > options_.most_characters || !split(word, out)) {
      out.resize(before);
      out.push_back({unknown_, 0, bytes});
    }
  }

 private:
  bool split(std::string_view word, std::vector<Piece>& out) const {
    for (size_t begin = 0; begin < word.size();) {
      uint32_t node = begin == 0 ? ByteTrie::kRoot : continuing_;
      int32_t id = Vocabulary::kNone;
      size_t end = begin;
      for (size_t i = begin; i < word.size() && node != ByteTrie::kNowhere; ++i) {
        node = trie_.next(node, word[i]);
        if (node == ByteTrie::kNowhere || trie_.value(node) == ByteTrie::kNoValue) continue;
        id = trie_.value(node);
        end = i + 1;
      }
      if (id == Vocabulary::kNone) return false;
      out.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      begin = end;
    }
    return true;
  }

  Vocabulary vocabulary_;
  WordPieceOptions options_;
  int32_t unknown_;
  ByteTrie trie_;
  uint32_t continuing_ = ByteTrie::kNowhere;  // behind the prefix
};

}  // namespace

std::unique_ptr<Model> make_word_piece(Vocabulary vocabulary, const WordPieceOptions& options) {
  return std::make_unique<WordPiece>(std::move(vocabulary), options);
}

std::unique_ptr<Model> read_word_piece(JsonObject& model) {
  WordPieceOptions options;
  options.unknown = model.need("unk_token").text();
  options.prefix = model.need("continuing_subword_prefix").text();
  // A word is tried in time that grows with the square of its length.
  options.most_characters = model.need("max_input_chars_per_word").integer(0, 10000);
  Vocabulary vocabulary = read_vocabulary(model.need("vocab"));
  model.done();
  if (vocabulary.id_of(options.unknown) == Vocabulary::kNone)
    model.at().refuse(fmt::format("the vocabulary lacks the token for unknown words, '{}'", options.unknown));
  return make_word_piece(std::move(vocabulary), options);
}

}  // namespace halftone::text
