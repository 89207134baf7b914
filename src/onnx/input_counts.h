// How many inputs ONNX's operators take.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace halftone::onnx {

// The most that a node of the default domain may have, optional ones included. None where there is no bound,
// or where ONNX does not have the operator.
std::optional<size_t> most_inputs(std::string_view op_type, int opset);

}  // namespace halftone::onnx
