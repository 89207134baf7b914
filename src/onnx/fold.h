// Evaluates nodes of constants when loading, within bounds: a small file must not be able to ask for
// gigabytes.
#pragma once

#include <vector>

#include "ops/op.h"

namespace halftone::onnx {

class Folder {
 public:
  explicit Folder(int opset) : opset_(opset) {}

  // The node's outputs. Error when one could have more than kMaxElements elements or all folded nodes
  // together more than kMaxTotal.
  std::vector<Tensor> fold(const ops::OnnxOp& op, const ir::Attributes& attributes,
                           std::vector<const Tensor*> inputs, size_t output_count);

  // A 4096 x 4096 mask twice over; shape arithmetic itself has tens of elements.
  static constexpr int64_t kMaxElements = int64_t{1} << 25;
  static constexpr int64_t kMaxTotal = int64_t{1} << 27;

 private:
  int opset_;
  int64_t total_ = 0;
};

}  // namespace halftone::onnx
