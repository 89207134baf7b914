#include "pass/differentiate.h"

#include "base/error.h"

namespace halftone::pass {

using ir::kNone;
using ir::ValueId;

std::vector<ValueId> differentiate(ops::Builder& builder, const std::map<ValueId, ValueId>& seeds,
                                   const std::vector<ValueId>& wanted) {
  ir::Graph& graph = builder.graph();
  const size_t forward_nodes = graph.nodes.size();

  // Which values depend on a wanted one: only their gradients are computed (the first layer needs none for
  // the samples).
  std::vector<bool> depends(graph.values.size(), false);
  for (const ValueId id : wanted) depends[static_cast<size_t>(id)] = true;
  for (const ir::Node& node : graph.nodes) {
    bool any = false;
    for (const ValueId id : node.inputs) any = any || (id != kNone && depends[static_cast<size_t>(id)]);
    if (!any) continue;
    for (const ValueId id :
         node.outputs)  // integers and booleans are steps: nothing is asked for their gradient
      if (id != kNone && is_float(graph.value(id).type.dtype)) depends[static_cast<size_t>(id)] = true;
  }

  std::map<ValueId, ValueId> gradient;
  const auto contribute = [&](ValueId to, ValueId dx) {
    if (dx == kNone) return;
    HT_ASSERT(builder.shape(dx) == builder.shape(to), "the gradient of {} has shape {}, expected {}",
              graph.value(to).name, to_string(builder.shape(dx)), to_string(builder.shape(to)));
    const auto [it, first] = gradient.emplace(to, dx);
    if (!first) it->second = builder.add1("Add", {it->second, dx});
  };
  for (const auto& [value, dx] : seeds) contribute(value, dx);

  for (size_t i = forward_nodes; i-- > 0;) {
    const ir::Node node = graph.nodes[i];  // a copy: the rule appends nodes
    std::vector<ValueId> dy;
    bool any = false;
    for (const ValueId id : node.outputs) {
      const auto it = gradient.find(id);
      dy.push_back(it == gradient.end() ? kNone : it->second);
      any = any || dy.back() != kNone;
    }
    std::vector<bool> needs;
    bool needed = false;
    for (const ValueId id : node.inputs) {
      needs.push_back(id != kNone && depends[static_cast<size_t>(id)]);
      needed = needed || needs.back();
    }
    if (!any || !needed || node.phase != ir::Phase::kCompute) continue;

    const ops::OpDef& def = ops::find(node.op);
    if (const auto* none = std::get_if<ops::NoGradient>(&def.gradient))
      throw input_error("node {} ({}) cannot be trained through: {}", node.name, node.op, none->reason);
    builder.set_origin(node.name);
    ops::GradientContext context{builder, node, dy, needs};
    const std::vector<ValueId> dx = std::get<ops::GradientRule>(def.gradient)(context);
    HT_ASSERT(dx.size() <= node.inputs.size(), "{} returned {} gradients for {} inputs", node.op, dx.size(),
              node.inputs.size());
    for (size_t k = 0; k < dx.size(); ++k)
      if (needs[k]) contribute(node.inputs[k], dx[k]);
  }

  std::vector<ValueId> out;
  for (const ValueId id : wanted) {
    const auto it = gradient.find(id);
    out.push_back(it == gradient.end() ? kNone : it->second);
  }
  return out;
}

}  // namespace halftone::pass
