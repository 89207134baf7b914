#include "ops/effects.h"

#include <algorithm>

namespace halftone::ops {

bool writes(const ir::Node& node, size_t input) {
  const std::vector<size_t>& written = find(node.op).effects.writes;
  return std::find(written.begin(), written.end(), input) != written.end();
}

bool has_effect(const ir::Node& node) {
  return find(node.op).effects.any();
}

Verdict verdict_of(const ir::Node& node) {
  return find(node.op).effects.verdict;
}

void remove_dead_nodes(ir::Graph& graph) {
  std::vector<bool> live(graph.values.size(), false);
  for (const ValueId id : graph.outputs) live[static_cast<size_t>(id)] = true;
  std::vector<ir::Node> kept;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    ir::Node& node = graph.nodes[i];
    const bool needed = has_effect(node) ||
                        std::any_of(node.outputs.begin(), node.outputs.end(),
                                    [&](ValueId id) { return id != kNone && live[static_cast<size_t>(id)]; });
    if (!needed) continue;
    for (const ValueId id : node.inputs)
      if (id != kNone) live[static_cast<size_t>(id)] = true;
    kept.push_back(std::move(node));
  }
  std::reverse(kept.begin(), kept.end());
  graph.nodes = std::move(kept);
}

void remove_effects(ir::Graph& graph) {
  std::erase_if(graph.nodes,
                [](const ir::Node& node) { return node.phase == ir::Phase::kUpdate || has_effect(node); });
}

}  // namespace halftone::ops
