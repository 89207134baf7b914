// How many of a node's inputs, from the first, must be there.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ops/op.h"

namespace halftone::onnx {

// inputs: how many the node lists; some may be left out by an empty name.
inline size_t required_inputs(const ops::OnnxOp& op, size_t inputs) {
  return op.required_inputs == ops::OnnxOp::kEveryInput ? std::max<size_t>(1, inputs)
                                                        : static_cast<size_t>(op.required_inputs);
}

}  // namespace halftone::onnx
