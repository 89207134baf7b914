// What every program of a network starts with.
#pragma once

#include "ir/graph.h"
#include "num/dtype.h"

namespace halftone::pass {

// An imported graph in the form in which it is differentiated and run: normalisations spelled in nodes as one
// operator (recognise_norms.h), Transposes moved through the graph until most cancel (layout.h), parameters
// stored as they are read.
void arrange(ir::Graph& graph, DType storage);

}  // namespace halftone::pass
