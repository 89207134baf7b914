// Steps that split the normalised text into words.
#pragma once

#include <memory>

#include "text/json_tree.h"
#include "text/words.h"

namespace halftone::text {

// Immutable; may be used by many threads at once.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Words& words) const = 0;
};

// `pre_tokenizer` of a tokenizer.json; nothing for null.
std::unique_ptr<PreTokenizer> read_pre_tokenizer(const JsonAt& at);

std::unique_ptr<PreTokenizer> make_bert_pre_tokenizer();

}  // namespace halftone::text
