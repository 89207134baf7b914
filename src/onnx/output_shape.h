// The shapes that a node puts out, known without running it: what the file declares, or what ONNX defines the
// operator to give. For looking past a node that Halftone refuses.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"
#include "onnx/model.h"

namespace halftone::onnx {

// The type of output `k`. inputs: types of the node's inputs, none where unknown or absent. storage: of
// floats.
std::optional<ir::Type> output_type_of(const NodeInfo& node, size_t k,
                                       const std::vector<std::optional<ir::Type>>& inputs, DType storage);

}  // namespace halftone::onnx
