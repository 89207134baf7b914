// What an ONNX operator does with each of its inputs, as far as training is concerned: known for all of
// ONNX's operators, whether Halftone can run them or not.
#pragma once

#include <cstdint>

#include "onnx/model.h"

namespace halftone::onnx {

enum class Flow : uint8_t {
  kNone,        // no gradient reaches it: shapes, indices, conditions, bounds
  kView,        // its elements come out as they are: moved, repeated or left out
  kArithmetic,  // computed with
  kWeight,      // a place where modules keep a parameter: a weight, a bias, the scale of a norm
  kState,       // a batch norm's running statistic
  kUnknown,     // the operator is not known
};

Flow flow_of(const NodeInfo& node, size_t input);

}  // namespace halftone::onnx
