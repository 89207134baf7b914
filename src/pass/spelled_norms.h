// What the recognisers of norms share: how they read a graph, and how a norm takes the place of nodes.
// Private to src/pass.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "ir/links.h"
#include "ops/op.h"

namespace halftone::pass::norms {

using ir::kNone;
using ir::Node;
using ir::ValueId;
using Axes = std::vector<int64_t>;

// `shape` broadcasts to `x` with one element for each along `axes`, and none along the others.
bool is_along(const Shape& shape, const Shape& x, const Axes& axes);

class Reader : public ir::Links {
 public:
  using ir::Links::Links;

  // The one number of a constant.
  std::optional<double> number(ValueId id) const;
  bool all_equal(ValueId id, double value) const;
  // Whether two values are computed by the same nodes from the same values.
  bool same(ValueId a, ValueId b, int depth = 6) const;
  // What the node's Mul or Add combines `with` with; kNone: it is no such node.
  ValueId other_operand(int64_t node, std::string_view op, ValueId with) const;
  ValueId output(int64_t node) const { return graph().nodes[static_cast<size_t>(node)].outputs[0]; }
};

// What takes the place of a node that computes y.
struct Norm {
  std::string_view op;
  ValueId x = kNone;
  ValueId scale = kNone;
  ValueId bias = kNone;
  Axes axes;
  ir::Attributes attributes;
};

// A Mul, then an Add, behind the normalisation that `node` computes, each where it alone reads what is before
// it and its operand has one element for each along `axes`. Returns the node that computes the result.
int64_t take_scale_and_bias(const Reader& g, int64_t node, const Shape& x, const Axes& axes, Norm& norm);

// Puts each norm in the place of its node, which keeps its value.
void place(ir::Graph& graph, DType storage, const std::map<size_t, Norm>& norms);

}  // namespace halftone::pass::norms
