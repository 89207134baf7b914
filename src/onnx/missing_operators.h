// Why Halftone has not got an operator, where there is more to say than that.
#pragma once

#include <string>

namespace halftone::onnx {

// For an operator of ONNX's own that ops::find_onnx does not know.
std::string reason_of_missing(const std::string& op_type);

}  // namespace halftone::onnx
