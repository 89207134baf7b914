// What turns a word (what the pre-tokenizer splits off) into tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/json_tree.h"
#include "text/vocabulary.h"

namespace halftone::text {

// A token and the bytes of the word that it stands for. The end may lie behind the word's end, as the original counts bytes of prefixes too.
struct Piece {
  int32_t id = 0;
  uint32_t begin = 0;
  uint32_t end = 0;
};

// Immutable; may be used by many threads at once.
class Model {
 public:
  virtual ~Model() = default;
  // Appends the tokens of the word, which is well-formed UTF-8 and not empty.
  virtual void tokenize(std::string_view word, std::vector<Piece>& out) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  // Whether remembering the tokens of a word saves time.
  virtual bool cacheable() const { return true; }
};

// `model` of a tokenizer.json.
std::unique_ptr<Model> read_model(const JsonAt& at);

struct WordPieceOptions {
  std::string unknown = "[UNK]";
  std::string prefix = "##";
  int64_t most_characters = 100;
};
std::unique_ptr<Model> make_word_piece(Vocabulary vocabulary, const WordPieceOptions& options);

std::unique_ptr<Model> read_word_piece(JsonObject& model);
std::unique_ptr<Model> read_word_level(JsonObject& model);
std::unique_ptr<Model> read_bpe(JsonObject& model);
std::unique_ptr<Model> read_unigram(JsonObject& model);

}  // namespace halftone::text
