// What a Model holds. Private to src/onnx.
#pragma once

#include <map>

#include "onnx/model.h"
#include "onnx/outline.h"
#include "onnx/proto.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {

struct Contents {
  TensorFile file;
  ::onnx::ModelProto proto;  // without the elements of file.detached's tensors
  int opset = 0;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  std::vector<NodeInfo> nodes;
  std::vector<int> file_index;  // of nodes[i]
  std::vector<TensorInfo> tensors;
  std::vector<TensorPlace> places;  // of tensors[i]
  std::map<std::string, size_t, std::less<>> tensor_index;
};

// The message with all elements, read again if need be.
::onnx::ModelProto whole_message(const Contents& contents);

}  // namespace halftone::onnx
