// Tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/json_tree.h"

namespace halftone::text {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // The tokens become what is to be put one behind the other.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

// `decoder` of a tokenizer.json; nothing for null.
std::unique_ptr<Decoder> read_decoder(const JsonAt& at);

std::unique_ptr<Decoder> make_word_piece_decoder(std::string prefix, bool cleanup);

}  // namespace halftone::text
