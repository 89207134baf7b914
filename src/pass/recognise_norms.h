// Normalisations that a file spells in nodes become the one operator, which keeps sums of squares in
// registers: a square stored in fp16 overflows from 256 on. The function stays what the nodes say, epsilon
// and all; what differs from it in any way is left alone. Files keep their nodes: what is written goes by the
// names of their tensors.
#pragma once

#include "ops/op.h"

namespace halftone::pass {

// Reshape to [N, G, the rest], InstanceNormalization without scale and bias, Reshape back, as PyTorch writes
// a group norm; Mul and Add behind it are taken along. Before sink_transposes, which would mix its Transposes
// with the others.
void recognise_group_norms(ir::Graph& graph, DType storage);

// Layer norm, RMS norm and L2 norm, over any axes (moved to the end by Transposes): x or x minus its mean,
// divided by
//   max(sqrt(factor * sum of its squares + epsilon), floor) + outside
// in whatever way that is spelled (Div, Reciprocal, powers of 0.5, -0.5 and -1, ReduceMean, ReduceSum or
// ReduceL2, squares by Pow or Mul, a mean of squares minus a squared mean), and with a scale and bias behind
// it, or within as x * (scale / root) + (bias - mean * (scale / root)). True when there were any: then there
// are new Transposes.
bool recognise_norms(ir::Graph& graph, DType storage);

}  // namespace halftone::pass
