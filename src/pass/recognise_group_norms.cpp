#include <map>
#include <optional>
#include <utility>

#include "ops/verify.h"
#include "pass/recognise_norms.h"
#include "pass/spelled_norms.h"

namespace halftone::pass {
namespace norms {
namespace {

// The group norm whose InstanceNormalization the node is.
std::optional<std::pair<int64_t, Norm>> group_norm(const ir::Graph& graph, const Reader& g,
                                                   const Node& node) {
  const int64_t groups = node.attributes.int_at("groups");
  const Node* to_last = g.producer(node.inputs[0], "Transpose");
  const Node* split = to_last == nullptr ? nullptr : g.producer(to_last->inputs[0], "Reshape");
  if (split == nullptr || g.shape(split->outputs[0]).size() != 3 ||
      to_last->attributes.ints_at("perm") != Axes{0, 2, 1} || g.shape(node.inputs[0]).back() != groups)
    return std::nullopt;
  const ValueId x = split->inputs[0];
  const Shape& shape = g.shape(x);
  if (shape.size() < 2 || shape[0] != g.shape(split->outputs[0])[0] || shape[1] % groups != 0)
    return std::nullopt;
  if (node.inputs.size() > 1 && node.inputs[1] != kNone && !g.all_equal(node.inputs[1], 1))
    return std::nullopt;
  if (node.inputs.size() > 2 && node.inputs[2] != kNone && !g.all_equal(node.inputs[2], 0))
    return std::nullopt;
  const int64_t to_first = g.only_reader(node.outputs[0]);
  if (to_first < 0 || graph.nodes[static_cast<size_t>(to_first)].op != "Transpose" ||
      graph.nodes[static_cast<size_t>(to_first)].attributes.ints_at("perm") != Axes{0, 2, 1})
    return std::nullopt;
  const int64_t joined = g.only_reader(g.output(to_first));
  if (joined < 0 || graph.nodes[static_cast<size_t>(joined)].op != "Reshape" ||
      g.shape(g.output(joined)) != shape)
    return std::nullopt;
  Norm norm;
  norm.op = "GroupNormalization";
  norm.x = x;
  norm.axes = {1};
  norm.attributes = node.attributes;
  const int64_t last = take_scale_and_bias(g, joined, shape, norm.axes, norm);
  return std::make_pair(last, std::move(norm));
}

}  // namespace
}  // namespace norms

void recognise_group_norms(ir::Graph& graph, DType storage) {
  const norms::Reader g(graph);
  std::map<size_t, norms::Norm> found;
  for (const ir::Node& node : graph.nodes)
    if (node.op == "GroupNormalization")
      if (auto norm = norms::group_norm(graph, g, node))
        found.emplace(static_cast<size_t>(norm->first), norm->second);
  if (found.empty()) return;
  norms::place(graph, storage, found);
  ops::verify(graph, "recognise_group_norms");
}

}  // namespace halftone::pass
