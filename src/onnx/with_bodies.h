// The graphs of nodes as if they stood in their nodes' place, for what is decided without running them.
// Private to src/onnx.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// The nodes of the file with those of their graphs (Loop, Scan, SequenceMap, and an If inside one) in their
// place: of a branch or of a loop's first round, whose inputs and outputs are views of the node's. Those have
// a guard that says nothing: they may run several times, or never. Added to: `known`, tensors of the graphs'
// own; `carried`, what a round puts out and as what the next one reads it.
using Carried = std::vector<std::pair<std::string, std::string>>;
std::vector<NodeInfo> with_bodies(const Model& model, std::set<std::string>& known, Carried& carried);

}  // namespace halftone::onnx
