// Fusion: nodes that one kernel does in one pass over memory become one node.
#pragma once

#include "ir/graph.h"

namespace halftone::pass {

// A batch norm takes along what only reads its result: a sum with a tensor of the same shape (the residual), and
// then Relu or (without a residual) Clip. Before differentiation, so that the gradient is fused by the batch norm's
// own rule. Between the joined nodes nothing is rounded any more (docs/numerics.md, section 1).
void fuse_batch_norms(ir::Graph& graph);

}  // namespace halftone::pass
