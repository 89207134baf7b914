// Whole numbers and truths that a file's nodes compute from its tensors alone: what the conditions of its Ifs
// are made of. Known while the file is read, before any shape is. Private to src/onnx.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "onnx/proto.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {

class KnownValues {
 public:
  // Initializers are read when somebody asks for them. Both outlive it.
  KnownValues(const ::onnx::GraphProto& graph, const TensorFile& file);

  void set(const std::string& name, Tensor value);
  // The outputs of a node whose inputs are all known, where it is one of those that conditions are made of.
  void visit(const ::onnx::NodeProto& node, int opset);
  const Tensor* find(const std::string& name);  // nullptr: it is not known
  // Of a condition: what it is; none where it is not known, or is not one truth.
  std::optional<bool> truth(const std::string& name);

 private:
  const TensorFile& file_;
  std::map<std::string, const ::onnx::TensorProto*> unread_;
  std::map<std::string, Tensor> values_;
};

}  // namespace halftone::onnx
