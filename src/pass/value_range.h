// Between which bounds a graph's values lie, by interval arithmetic, whatever its inputs and parameters are.
#pragma once

#include <limits>
#include <vector>

#include "ir/graph.h"

namespace halftone::pass {

struct ValueRange {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool within(double least, double most) const { return low >= least && high <= most; }
};

// One for each value. Operators that are not known here have no bounds.
std::vector<ValueRange> value_ranges(const ir::Graph& graph);

}  // namespace halftone::pass
