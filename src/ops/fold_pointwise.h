// Fold rules of functions that work element by element, beyond those of fold.h: what stands in shape
// arithmetic between the others, and tables that exporters leave to be computed when loading.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// Clip-6 to -13, of integers too; bounds are attributes before opset 11 and constants since.
std::vector<Tensor> fold_clip(const FoldContext& c);
// Relu (of integers too), Sigmoid, Tanh, Softplus, Erf, Sin, Cos, IsNaN.
std::vector<Tensor> fold_pointwise(const FoldContext& c);
// BitShift-11 (of uint8), BitwiseAnd, BitwiseOr, BitwiseXor and BitwiseNot-18.
std::vector<Tensor> fold_bits(const FoldContext& c);
// Trilu-14: the upper or lower triangle of each matrix, the rest 0.
std::vector<Tensor> fold_trilu(const FoldContext& c);

}  // namespace halftone::ops
