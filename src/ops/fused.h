// Tools of the operators that stand for several of ONNX's own.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// The opset whose meaning `through` takes: the newest in which all that is asked for is there as it is.
constexpr int kThroughOpset = 24;

// What ONNX's operator of this name makes of these inputs (kNone: absent): its first output.
ValueId through(ImportContext& c, std::string_view op, const std::vector<ValueId>& inputs,
                Attributes attributes);

// Error when the node has an input that Halftone does not know; the list of ONNX's own does not hold for it.
void check_inputs(const ImportContext& c, size_t most);

}  // namespace halftone::ops
