#include "pass/order.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "ops/effects.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;

class Order {
 public:
  explicit Order(ir::Graph& graph) : graph_(graph) {
    std::stable_partition(graph.nodes.begin(), graph.nodes.end(),
                          [](const Node& n) { return n.phase == ir::Phase::kCompute; });
    ready_.resize(graph.values.size());
    for (size_t v = 0; v < ready_.size(); ++v) ready_[v] = graph.values[v].kind != ir::ValueKind::kActivation;
    placed_.resize(graph.nodes.size(), false);
    follow_writes();
    for (const Node& node : graph.nodes)
      open_verdicts_ += ops::verdict_of(node) == ops::Verdict::kGives ? 1 : 0;
  }

  void run() {
    std::vector<size_t> waiting;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!place(i)) {
        waiting.push_back(i);
        continue;
      }
      for (size_t w = 0; w < waiting.size();) {
        if (!place(waiting[w])) {
          ++w;
          continue;
        }
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(w));
        w = 0;
      }
    }
    HT_ASSERT(waiting.empty(), "{} {} waits for what comes behind it", graph_.nodes[waiting.front()].op,
              graph_.nodes[waiting.front()].name);
    graph_.nodes = std::move(ordered_);
  }

 private:
  // Which nodes each must stand behind because both touch a persistent value and one of them writes it.
  void follow_writes() {
    behind_.resize(graph_.nodes.size());
    std::vector<bool> written(graph_.values.size(), false);
    for (const Node& node : graph_.nodes)
      for (const size_t i : ops::find(node.op).effects.writes)
        if (i < node.inputs.size() && node.inputs[i] != kNone)
          written[static_cast<size_t>(node.inputs[i])] = true;
    struct Touched {
      std::optional<size_t> writer;  // the last so far
      std::vector<size_t> readers;   // of what it left
    };
    std::vector<Touched> touched(graph_.values.size());
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i] == kNone || !written[static_cast<size_t>(node.inputs[i])]) continue;
        Touched& value = touched[static_cast<size_t>(node.inputs[i])];
        if (value.writer) behind_[n].push_back(*value.writer);
        if (ops::writes(node, i)) {
          behind_[n].insert(behind_[n].end(), value.readers.begin(), value.readers.end());
          value = {n, {}};
        } else {
          value.readers.push_back(n);
        }
      }
    }
  }

  bool can(size_t n) const {
    const Node& node = graph_.nodes[n];
    const auto is_ready = [&](ValueId id) { return id == kNone || ready_[static_cast<size_t>(id)]; };
    return (open_verdicts_ == 0 || ops::verdict_of(node) != ops::Verdict::kHeeds) &&
           std::all_of(node.inputs.begin(), node.inputs.end(), is_ready) &&
           std::all_of(behind_[n].begin(), behind_[n].end(),
                       [&](size_t other) { return other == n || placed_[other]; });
  }

  bool place(size_t n) {
    if (!can(n)) return false;
    Node& node = graph_.nodes[n];
    for (const ValueId id : node.outputs)
      if (id != kNone) ready_[static_cast<size_t>(id)] = true;
    placed_[n] = true;
    open_verdicts_ -= ops::verdict_of(node) == ops::Verdict::kGives ? 1 : 0;
    ordered_.push_back(std::move(node));
    return true;
  }

  ir::Graph& graph_;
  std::vector<bool> ready_;                  // values that are there
  std::vector<bool> placed_;                 // nodes
  std::vector<std::vector<size_t>> behind_;  // nodes that each node stands behind
  int open_verdicts_ = 0;
  std::vector<Node> ordered_;
};

}  // namespace

void order_nodes(ir::Graph& graph) {
  Order(graph).run();
}

}  // namespace halftone::pass
