// Layout: convolutions work channels last, ONNX speaks channels first. Import puts Transpose nodes around
// each convolution; these passes move them together until they cancel.
#pragma once

#include "ir/graph.h"

namespace halftone::pass {

// Moves every Transpose down through element-wise nodes and nodes that can rename their axes, joins
// neighbours, and drops those that change nothing. What is left stands only where a node really needs the
// other order (a Flatten, the network's input).
void sink_transposes(ir::Graph& graph, DType storage);

// A parameter that is only read through one Transpose is stored transposed (Value::storage_axes) and the
// Transpose goes.
void absorb_parameter_transposes(ir::Graph& graph);

// An input that is only read through one Transpose, which leaves the samples' axis in front, is fed
// transposed (Value::storage_axes) and the Transpose goes. Comes behind all that could still read the input
// as the file has it (a loss graph).
void absorb_input_transposes(ir::Graph& graph);

}  // namespace halftone::pass
