// The gradient graph: appended to the forward graph by the rules that live with each operator.
#pragma once

#include <map>
#include <vector>

#include "ops/op.h"

namespace halftone::pass {

// Appends nodes that compute the gradients of `wanted` (parameters, or any values), starting from known
// gradients of some values (usually the network's output, whose gradient a loss node delivers). Contributions
// to one value are added in the reverse order of its uses, in storage precision. Returns one gradient for
// each wanted value, kNone where nothing depends on it. Throws Error naming a node that has no gradient rule
// with its stated reason.
std::vector<ir::ValueId> differentiate(ops::Builder& builder, const std::map<ir::ValueId, ir::ValueId>& seeds,
                                       const std::vector<ir::ValueId>& wanted);

}  // namespace halftone::pass
