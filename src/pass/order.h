// The order in which nodes run.
#pragma once

#include "ir/graph.h"

namespace halftone::pass {

// Keeps the order of the list but where a node must wait: those of the update phase stand behind all others;
// what reads a value stands behind the node that makes it; what heeds the verdict on a step, behind what
// gives it (ops::Verdict). Nodes that change or read one persistent value keep their order.
void order_nodes(ir::Graph& graph);

}  // namespace halftone::pass
