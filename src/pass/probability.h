// Values that are computed from probabilities, element by element: a Softmax times 100, the mean of two
// Sigmoids, minus the logarithm of a Softmax. They are no logits, whatever their range.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace halftone::pass {

// The node (Softmax, Sigmoid, HardSigmoid, LogSoftmax) whose probabilities `value` is computed from; nullptr:
// `value` depends on something else too, or it is the logarithm of probabilities, and so logits.
const ir::Node* source_of_probabilities(const ir::Graph& graph, ir::ValueId value);

}  // namespace halftone::pass
