// Why Halftone has not got an operator, where there is more to say than that.
#pragma once

#include <string>

namespace halftone::onnx {

// For an operator that ops::find_onnx does not know. domain: empty for ONNX's own.
std::string reason_of_missing(const std::string& op_type, const std::string& domain = {});

}  // namespace halftone::onnx
