// What the list of operators knows a file's node as.
#pragma once

#include <string>

#include "onnx/model.h"

namespace halftone::onnx {

// For ops::find_onnx: the operator, with its domain in front where that is not ONNX's own, as in
// "com.microsoft.SkipLayerNormalization". An operator of ONNX's own that is called so is none that we know.
inline std::string operator_of(const NodeInfo& node) {
  const bool plain = node.op_type.find('.') == std::string::npos;
  return node.domain.empty() && plain ? node.op_type : node.domain + "." + node.op_type;
}

}  // namespace halftone::onnx
