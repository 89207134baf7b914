// An fp16 form of a network that ONNX Runtime runs.
#pragma once

#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

struct Fp16Options {
  // the network's own inputs and outputs in fp16 as well; else fp32, with Cast nodes at the borders
  bool fp16_borders = false;
};
struct Fp16Report {
  std::vector<std::string> warnings;  // what fp16 cannot represent, one tensor each
};

// Writes the network with its fp32 tensors, computations and declared types in fp16; all names, nodes and
// attributes stay, and Cast nodes are added where fp16 and fp32 meet. What stays in fp32: computations that
// only lead to integers (shape arithmetic), inputs that ONNX wants in fp32, and running statistics of batch
// norms from opset 14 on, which allows it; before, all of a batch norm's inputs have one type. Weights are
// rounded to nearest-even; external data moves into the file. Errors, all in one message: operators that
// Halftone does not know (which of their inputs are what?), control flow, other domains; trained tensors with
// values beyond 65504. Warnings: other constants beyond 65504, which become +-65504 (exporters write the
// largest fp32 number for "no limit"); values that become zero.
Fp16Report export_fp16(const Model& model, const std::string& path, const Fp16Options& options = {});

}  // namespace halftone::onnx
