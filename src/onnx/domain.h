// The domains that operators come from.
#pragma once

#include <string>

namespace halftone::onnx {

// ONNX's own, under either of its names.
inline bool is_default_domain(const std::string& domain) {
  return domain.empty() || domain == "ai.onnx";
}

}  // namespace halftone::onnx
