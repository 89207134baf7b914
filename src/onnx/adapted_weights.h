// Weights of a file that can have low-rank adapters, and the modules that they belong to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// The weight of MatMul, Gemm or Conv nodes: y = x W, or a convolution of x with W.
struct AdaptedWeight {
  std::string module;         // its path as PyTorch has it: encoder.layer.0.attention.self.query
  std::string weight;         // tensor of the file
  std::vector<size_t> nodes;  // of Model::nodes: those that multiply by it
  bool is_conv = false;
  bool outputs_first = false;  // the tensor is [outputs, inputs], as PyTorch's Linear; a Conv's always is
  int64_t inputs = 0, outputs = 0;
  Shape kernel;             // of a Conv
  std::string reason = {};  // why it can have no adapter; empty: it can

  bool is_pointwise() const;  // a matrix, or a Conv with a kernel of ones
  int64_t fan_in() const { return inputs * elements(kernel); }
  // Names of the adapter's tensors.
  std::string a() const { return module + ".lora_A.weight"; }
  std::string b() const { return module + ".lora_B.weight"; }
};

// All tensors that MatMul, Gemm or Conv nodes multiply something by, in the order of the first node of each; those
// that cannot have an adapter too, with the reason. Nodes that Identity, Cast or a Transpose of two axes stands
// before are seen through. A tensor that several such nodes read is one weight, with one adapter.
// The module is the tensor's name without ".weight"; of tensors that an exporter named ("onnx::MatMul_123") the bias's
// name without ".bias", or the path in the node's name ("/encoder/layer.0/attention/self/query/MatMul"); where the ends
// of these differ, the path. Where none of them says it, or several tensors would
// have one module, it is the tensor's name.
std::vector<AdaptedWeight> weights_of_products(const Model& model);

}  // namespace halftone::onnx
