// Fusion: nodes that one kernel does in one pass over memory become one node.
#pragma once

#include "ir/graph.h"

namespace halftone::pass {

// An operator that declares it (ops::Behind: batch norms) takes along what only reads its result: a sum with
// a tensor of the same type (the residual), and then an activation. Before differentiation, so that the
// gradient is fused by the operator's own rule. Between the joined nodes nothing is rounded any more
// (docs/numerics.md, section 1).
void fuse(ir::Graph& graph);

}  // namespace halftone::pass
