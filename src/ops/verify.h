// The check that stands behind every pass.
#pragma once

#include <string>

#include "ir/graph.h"

namespace halftone::ops {

// ir::verify, and what can be checked by the operators' declarations:
// - every node's types inferred anew: they are those that the graph records;
// - writes (Effects::writes) go to parameters and states, to each by one node of a phase; what a node writes
//   is no other input of it, and nodes that compute read it all before that or all behind it; what is scratch
//   is written before it is read; what is derived is settled by the update phase where the other phase moves
//   it;
// - one node gives the verdict on a step, and those that heed it stand behind it.
// Throws InternalError naming the pass, the node and the values.
void verify(const ir::Graph& graph, const std::string& after_pass);

}  // namespace halftone::ops
