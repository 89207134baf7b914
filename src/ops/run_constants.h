// Computing a node when loading by running it: for operators that have no fold rule of their own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/op.h"

namespace halftone::ops {

// The outputs of a node whose inputs are all constants (nullptr where absent), as its import makes them, run
// by the reference kernels: in double and rounded to fp32 once; products of more than some millions of
// multiplications in fp32. Outputs that import does not deliver are empty. Nothing at all: the node is not
// for running when loading, because it is random in this mode, or too large; its import then computes it in
// every step. Error: what import refuses, and a number that a node cannot go on with (StepState::fault).
std::optional<std::vector<std::optional<Tensor>>> run_constants(const OnnxOp& op, const FoldContext& node,
                                                                const std::string& name, Mode mode);

}  // namespace halftone::ops
