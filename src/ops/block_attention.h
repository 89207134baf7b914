// What may lie between attention's scores and their softmax. (ops/block_attention.cpp)
#pragma once

#include <cstdint>

#include "tensor/shape.h"

namespace halftone::ops {

// The attribute "steps" lists them in order; kScale takes the next two of the attribute "numbers" (a tensor
// of fp64), the others read their operands from the node's inputs behind V, Q and K.
enum class AttentionStep : uint8_t {
  kScale,        // alpha * score + beta
  kAdd,          // score + other
  kChooseScore,  // condition ? score : other
  kChooseOther,  // condition ? other : score
};
// Of a number in "steps".
AttentionStep attention_step(int64_t code);

// Whether the gradient of an operand that is added to such scores can be computed in blocks: it is broadcast
// along leading axes alone.
bool is_bias_with_gradient(const Shape& operand, const Shape& scores);

}  // namespace halftone::ops
