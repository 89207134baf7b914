// The graphs of nodes as the importer puts them in their place. Private to src/onnx.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/model_contents.h"

namespace halftone::onnx {

// The nodes are copies under names of their own; everything they refer to is in them or in the file's contents.
struct BranchContents {
  std::shared_ptr<const Contents> contents;
  std::vector<::onnx::NodeProto> nodes;
  std::vector<std::string> inputs;  // of the graph
};

// As Model::branch and Branch::branch, under names that no other round of the loop has. Valid as long as the model.
std::shared_ptr<const Branch> branch_of(const Model& model, size_t node, std::string_view attribute, int64_t round);
std::shared_ptr<const Branch> branch_of(const Branch& branch, size_t node, std::string_view attribute, int64_t round);

}  // namespace halftone::onnx
