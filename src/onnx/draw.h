// Numbers that a new layer begins with.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace halftone::onnx {

// fp32 numbers drawn evenly from [-bound, bound): a function of the seed, the tensor's name and each element's
// place alone. PyTorch draws weights of linear and convolutional layers so, and their biases, with the bound
// 1 / sqrt(inputs of one output).
Tensor drawn(const std::string& name, const Shape& shape, double bound, uint64_t seed);
double linear_bound(int64_t fan_in);

}  // namespace halftone::onnx
