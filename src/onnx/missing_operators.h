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

// For an operator of ONNX's own that ops::find_onnx does not know.
std::string reason_of_missing(const std::string& op_type);
// For an operator of another domain.
std::string foreign_domain(const std::string& domain);

}  // namespace halftone::onnx
