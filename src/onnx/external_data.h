// Tensor data in files beside the model. Private to src/onnx.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "onnx/proto.h"

namespace halftone::onnx {

struct ExternalPlace {
  std::string location;  // relative to the model's folder, as in the file
  std::string path;      // of the data file
  int64_t offset = 0;
  int64_t length = 0;  // checked to lie inside the file
};

bool is_external(const ::onnx::TensorProto& proto);

// Every tensor of the message whose elements are in other files: initializers, also sparse ones, and
// attributes of nodes, in the graph, in the bodies of its nodes (If, Loop, Scan) and in functions.
void for_each_external(const ::onnx::ModelProto& proto,
                       const std::function<void(const ::onnx::TensorProto&)>& use);

// Where an external tensor's `bytes` bytes lie. Error when the location leaves the model's folder (absolute,
// "..", a symbolic link out), the file is missing, or offset and length do not fit the file or the tensor.
ExternalPlace external_place(const ::onnx::TensorProto& proto, const std::string& model_path, int64_t bytes);

// Reads exactly place.length bytes into `to`.
void read_external(const ExternalPlace& place, void* to);

}  // namespace halftone::onnx
