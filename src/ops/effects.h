// What nodes do besides their outputs, read from the declarations of their operators (ops::Effects).
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// Whether the node changes this input of it in place.
bool writes(const ir::Node& node, size_t input);
// Whether it is needed although nobody reads its outputs: it writes a value, or gives the verdict on the
// step.
bool has_effect(const ir::Node& node);
Verdict verdict_of(const ir::Node& node);

// Removes nodes that are good for nothing: without an effect, and whose outputs nobody reads.
void remove_dead_nodes(ir::Graph& graph);
// Removes nodes that change what a step leaves behind, with all of the update phase: what is left only
// computes.
void remove_effects(ir::Graph& graph);

}  // namespace halftone::ops
