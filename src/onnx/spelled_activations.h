// Activations that exporters write in several nodes become the one operator that computes them: one pass over
// memory, one rounding, and nothing in between that leaves fp16's range.
#pragma once

#include "ir/graph.h"

namespace halftone::onnx {

// In this order of nodes or any other that means the same:
//   Silu      x sigmoid(x)
//   Swish     x sigmoid(a x); "quick gelu" is that of a = 1.702
//   Mish      x tanh(softplus(x))
//   Gelu      x (1 + erf(x / sqrt 2)) / 2
//   GeluTanh  x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
//   Softplus  log(1 + exp(x))
// Values in between that somebody else reads, or that are outputs, keep all nodes as they are. What is not
// read any more stays for remove_dead_nodes. For a graph whose scalar constants are Scale nodes, as import
// makes it.
void join_spelled_activations(ir::Graph& graph);

}  // namespace halftone::onnx
