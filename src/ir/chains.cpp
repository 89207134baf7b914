#include "ir/chains.h"

#include <optional>

#include "base/error.h"
#include "ir/links.h"

namespace halftone::ir {

ValueId Chain::other(size_t i) const {
  HT_ASSERT(i > 0 && node(i).inputs.size() == 2, "{}", node(i).op);
  return node(i).inputs[0] == node(i - 1).outputs[0] ? node(i).inputs[1] : node(i).inputs[0];
}

namespace {

std::optional<Chain> matched(Graph& graph, const Links& links, const std::vector<bool>& gone, size_t first,
                             const ChainRow& row) {
  std::vector<size_t> nodes{first};
  for (size_t k = 0;; ++k) {
    const Node& node = graph.nodes[nodes[k]];
    if (!row.pattern[k].empty() && node.op != row.pattern[k]) return std::nullopt;
    if (k + 1 == row.pattern.size()) break;
    if (node.outputs.empty() || node.outputs[0] == kNone) return std::nullopt;
    const int64_t next = links.only_reader(node.outputs[0]);
    if (next < 0 || gone[static_cast<size_t>(next)]) return std::nullopt;
    nodes.push_back(static_cast<size_t>(next));
  }
  Chain chain(graph, nodes);
  if (!row.guard(chain)) return std::nullopt;
  return chain;
}

}  // namespace

int64_t rewrite_chains(Graph& graph, std::span<const ChainRow> rows) {
  const Links links(graph);
  std::vector<bool> gone(graph.nodes.size(), false);
  int64_t count = 0;
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    for (const ChainRow& row : rows) {
      if (gone[i]) break;
      const std::optional<Chain> chain = matched(graph, links, gone, i, row);
      if (!chain) continue;
      const ValueId result = chain->node(chain->size() - 1).outputs[0];
      row.replace(*chain);
      for (size_t k = 0; k < chain->size(); ++k)
        if (k != row.keeps) gone[static_cast<size_t>(&chain->node(k) - graph.nodes.data())] = true;
      chain->node(row.keeps).outputs[0] = result;
      ++count;
      break;
    }
  std::vector<Node> kept;
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (!gone[i]) kept.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(kept);
  return count;
}

}  // namespace halftone::ir
