// What a Model holds. Private to src/onnx.
#pragma once

#include <map>

#include "onnx/model.h"
#include "onnx/proto.h"

namespace halftone::onnx {

// Where a tensor stands in the message: an initializer, or the attribute of a Constant node.
struct TensorPlace {
  int initializer = -1;
  int node = -1;       // index in the file
  int attribute = -1;  // of that node
};

struct Contents {
  std::string path;
  ::onnx::ModelProto proto;
  int opset = 0;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  std::vector<NodeInfo> nodes;
  std::vector<int> file_index;  // of nodes[i]
  std::vector<TensorInfo> tensors;
  std::vector<TensorPlace> places;  // of tensors[i]
  std::map<std::string, size_t, std::less<>> tensor_index;
};

}  // namespace halftone::onnx
