// The graphs of nodes as the importer puts them in their place. Private to src/onnx.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/model_contents.h"

namespace halftone::onnx {

struct BranchContents;
// One of the graphs of a node, to stand in the node's place: its nodes, under names that nothing outside has,
// in an order in which each follows those it reads from.
struct Branch {
  std::vector<NodeInfo> nodes;
  std::map<std::string, Tensor> tensors;  // its initializers: constants
  std::vector<std::string> outputs;
  ir::Attributes attributes(size_t node) const;
  std::shared_ptr<const BranchContents> contents;
};

// The nodes are copies under names of their own; everything they refer to is in them or in the file's
// contents.
struct BranchContents {
  std::shared_ptr<const Contents> contents;
  std::vector<::onnx::NodeProto> nodes;
  std::vector<std::string> inputs;  // of the graph
};

// The graph of that name of a node of the model, or of a graph in it. round: of a loop, so that no other one
// has the same names; -1: there is one only. Valid as long as the model. Error: there is no such graph.
std::shared_ptr<const Branch> branch_of(const Model& model, size_t node, std::string_view attribute,
                                        int64_t round);
std::shared_ptr<const Branch> branch_of(const Branch& branch, size_t node, std::string_view attribute,
                                        int64_t round);

}  // namespace halftone::onnx
