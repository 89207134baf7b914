// What an ONNX reduction (ReduceSum, ReduceMax, ...) reduces, whatever its opset.
#pragma once

#include <vector>

#include "ops/op.h"

namespace halftone::ops {

struct OnnxReduction {
  std::vector<int64_t> axes;  // normalized, ascending; empty: the input stays as it is
  bool keepdims = true;
};
// Axes are an attribute before opset 13 (ReduceSum) or 18 (the others), a constant input since.
OnnxReduction onnx_reduction(const ImportContext& c);

// How ReduceSum adds up `length` rows of `columns` elements along the first axis: so many terms one after
// another at each level, whose sums are the terms of the next.
std::vector<int64_t> reduction_levels(int64_t length, int64_t columns);

}  // namespace halftone::ops
