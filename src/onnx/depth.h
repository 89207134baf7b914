// How deep in the network a parameter stands, for learning rates that depend on it.
#pragma once

#include <map>
#include <string>

#include "onnx/roles.h"

namespace halftone::onnx {

struct Depths {
  int64_t groups = 0;                        // 0 is nearest to the input, groups - 1 to the output
  std::map<std::string, int64_t> of_tensor;  // parameters' groups
};

// Groups as timm counts them where PyTorch's names (pytorch_names.h) have numbers: a group is what has one name up to its
// first number, and the numbers that follow at once ("layer1.0", "blocks.3", "encoder.layer.11"), in the order in which
// the network reads them. Parameters without a number are one group before the first of these (stem), one behind the
// last (head), and of the group before them in between. Without any numbers each weight of two axes or more begins a
// group, and biases and norms belong to the weight before them.
Depths depths_of(const Model& model, const std::vector<TensorRole>& roles);

}  // namespace halftone::onnx
