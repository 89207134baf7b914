// Why Halftone has not got an operator, where there is more to say than that.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::onnx {

// Those with a reason of their own.
struct MissingOperators {
  std::vector<std::string_view> op_types;
  std::string_view reason;
};
const std::vector<MissingOperators>& missing_operators();

// For an operator that ops::find_onnx does not know. domain: empty for ONNX's own.
std::string reason_of_missing(const std::string& op_type, const std::string& domain = {});

}  // namespace halftone::onnx
