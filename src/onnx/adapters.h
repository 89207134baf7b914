// Low-rank adapters (LoRA) on the weights of a network, as PEFT has them: y = x W + (alpha / r) (drop(x) A) B, where W
// stays as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx/adapted_weights.h"
#include "onnx/model.h"

namespace halftone::onnx {

struct LoraOptions {
  int64_t rank = 0;
  double alpha = 0;
  double dropout = 0;  // of what A multiplies
  std::vector<std::string>
      targets;  // patterns; empty: all weights but those of the last layer and of larger kernels

  double scale() const { return alpha / static_cast<double>(rank); }
};

struct Adapters {
  LoraOptions options;
  std::vector<AdaptedWeight> weights;      // that get adapters
  std::vector<std::string> left_out = {};  // in words: what the targets name and what cannot have one
};

// The weights that get adapters. outputs: the network's, whose last layers are left out where no target names them.
// A target is a module's path, the end of one behind a dot, or a pattern (*, ?) of paths or of tensors' names.
// Error (usage): a target names nothing, or nothing that can have an adapter, with the reason; (input) the network has
// no such weight.
Adapters adapters_of(const Model& model, const LoraOptions& options, const std::vector<std::string>& outputs);

// The model with the adapters as parameters (AdaptedWeight::a and b) and nodes: A drawn evenly in 1 / sqrt(fan in) from
// the seed, B zero. In the graph A is [inputs, r] and B [r, outputs]; a Conv's are [r, inputs, kernel] and
// [outputs, r, 1, ...]. It is for training, not for being written.
Model with_adapters(const Model& model, const Adapters& adapters, uint64_t seed);

// A tensor of that graph as PEFT has it: A [r, inputs], B [outputs, r].
Tensor in_peft_form(const AdaptedWeight& weight, const Tensor& tensor);

// W + scale * B A in fp64, in W's own shape. a and b as PEFT has them.
Tensor merged(const AdaptedWeight& weight, const Tensor& w, const Tensor& a, const Tensor& b, double scale);

}  // namespace halftone::onnx
