// Convolutions whose batch norm an exporter may have folded into them.
#pragma once

#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

struct FoldedConvolution {
  std::string node;
  std::string weight;  // the file's tensors
  std::string bias;
  std::string output;  // the value the batch norm would have put out
};

// The convolutions that folding can have left: with a weight and a bias of their own (tensors of the file
// that nothing else uses), and no BatchNormalization that reads their output. Nobody can tell them from
// convolutions that never had a batch norm. In the order of Model::nodes.
std::vector<FoldedConvolution> folded_convolutions(const Model& model);

}  // namespace halftone::onnx
