// Rewriting by rows of pattern, guard and replacement. The pattern is a chain: nodes each of which alone
// reads the first output of the one before it.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace halftone::ir {

// A chain that fits a row's pattern.
class Chain {
 public:
  Chain(Graph& graph, std::vector<size_t> nodes) : graph_(graph), nodes_(std::move(nodes)) {}

  const Graph& graph() const { return graph_; }
  size_t size() const { return nodes_.size(); }
  Node& node(size_t i) const { return graph_.nodes[nodes_[i]]; }
  // Of its first output.
  const Type& type(size_t i) const { return graph_.value(node(i).outputs[0]).type; }
  // What a node with two inputs combines with the result of the node before it.
  ValueId other(size_t i) const;

 private:
  Graph& graph_;
  std::vector<size_t> nodes_;
};

struct ChainRow {
  std::vector<std::string_view> pattern;  // operators; "": any, which the guard narrows
  bool (*guard)(const Chain&);
  // Changes the node at `keeps` so that it computes what the chain did. Its first output becomes the last
  // node's, whose place it takes in the graph; the other nodes go.
  size_t keeps;
  void (*replace)(const Chain&);
};

// At each node, in their order, the first row that fits; what one chain took no other takes. Returns how many
// chains were replaced. A node that stays may now read a value that is made behind it: pass/order.h mends
// that.
int64_t rewrite_chains(Graph& graph, std::span<const ChainRow> rows);

}  // namespace halftone::ir
