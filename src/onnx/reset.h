// Tensors that a training begins with as if they had never been trained.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// The model whose parameters and statistics with these names (patterns, tensor_names.h) are drawn anew, as PyTorch's
// layers begin:
//   weights and biases of Gemm, MatMul (with Add), Conv, ConvTranspose   even in 1 / sqrt(fan in) (draw.h)
//   scales of norms 1, their shifts 0; running means 0, running variances 1
//   slopes of PRelu 0.25
// usage Error: a pattern matches no such tensor. input Error, naming tensor and node: one that has no such rule, or
// that two nodes read which have different ones.
// drawn: receives their names.
Model with_reset(const Model& model, const std::vector<std::string>& patterns, uint64_t seed,
                 std::vector<std::string>* drawn = nullptr);

}  // namespace halftone::onnx
