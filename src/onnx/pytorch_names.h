// The names and layouts that PyTorch's modules give a file's tensors, for safetensors.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// A tensor of the file as a module's state_dict holds it.
struct PytorchTensor {
  std::string tensor;  // its name in the file
  std::string name;    // PyTorch's
  // Exporters store the weight of a Linear layer transposed when they make a MatMul of it, and a PReLU's
  // slopes with trailing ones. The tensor is transposed (two axes) if `transposed`, then takes `shape`.
  bool transposed = false;
  Shape shape;
};

// All tensors with a Role (roles.h), in the file's order. Both exporters keep PyTorch's names for what they
// store as it is; for what they fold or transpose they make names up ("onnx::Conv_253", "conv1.weight_bias"),
// and PyTorch's is derived from the node that uses it: its module path ("/layer1/layer1.0/conv1/Conv":
// layer1.0.conv1) and the input's role (weight, bias, running_mean, running_var). A folded batch norm's bias
// becomes its convolution's bias. A name that nothing can be derived from, or that is taken, stays as it is
// in the file. Tensors that an exporter merged follow under their other names, those of Identity nodes.
// Error: a node has float tensors in a graph of its own.
std::vector<PytorchTensor> pytorch_tensors(const Model& model);

// The names alone, by the file's, of the tensors of floats that have another one there (constants too).
std::map<std::string, std::string> pytorch_names(const Model& model);

// The module path of a node's name; empty when it has none.
std::string module_path(std::string_view node_name);
// The same of a node (of Model::nodes), by its name or by what the newer exporter notes beside it.
std::string module_of(const Model& model, size_t node);

}  // namespace halftone::onnx
