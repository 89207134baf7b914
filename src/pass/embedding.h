// One vector for each text, made of what a network gives for its tokens.
#pragma once

#include <optional>
#include <string>

#include "ops/op.h"

namespace halftone::pass {

enum class Pooling : uint8_t {
  kInside,  // the network's output is a vector for each text
  kMean,    // of the tokens that the attention mask has
  kCls,     // the first token's
  kMax,     // of these tokens, element by element
};
std::string name_of(Pooling pooling);  // as --pooling has it
std::optional<Pooling> find_pooling(const std::string& name);

struct Embedding {
  int64_t texts = 0;  // a sample; 0: the network's output is no embedding, and stays as it is
  Pooling pooling = Pooling::kInside;
  bool unit = true;       // vectors of length 1
  std::string mask = {};  // the network's input that has the attention mask; empty: it has none
  bool operator==(const Embedding&) const = default;
};

// graph: of a network for `batch` * embedding.texts texts, each a row of its inputs. Becomes that of a network for
// `batch` samples: its inputs are [batch, texts, ...] (of one text [batch, ...]), which are the same bytes, and its
// output [batch, texts, width] (of one text [batch, width]), in the register type.
//
// formula  mean: sum of x * mask over the tokens / sum of the mask; cls: x of token 0; max: the largest of x where the
//          mask is 1, of equal ones the first token's; then y / sqrt(max(sum of y^2, 1e-24)) where `unit` holds
// source   sentence-transformers Pooling (mean, cls, max) and Normalize, PyTorch functional.normalize
//
// Error (input): the output is no vector for each text (without a pooling) or token (with one); no mask where one is
// needed.
void embed(ir::Graph& graph, DType storage, const Embedding& embedding, int64_t batch);

// x / |x| along the last axis of [..., width]; of zeros zeros.
ops::ValueId of_unit_length(ops::Builder& b, ops::ValueId x);

}  // namespace halftone::pass
