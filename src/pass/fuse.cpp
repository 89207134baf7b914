#include "pass/fuse.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), uses_(graph.use_counts()), gone_(graph.nodes.size(), false) {
    reader_.assign(graph.values.size(), -1);
    for (size_t i = 0; i < graph.nodes.size(); ++i)
      for (const ValueId id : graph.nodes[i].inputs)
        if (id != kNone) reader_[static_cast<size_t>(id)] = static_cast<int64_t>(i);
  }

  void run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const std::string& op = graph_.nodes[i].op;
      if (op == "BatchNormTrain") fuse(i, 3);
      if (op == "BatchNormalization") fuse(i, 5);
    }
    reorder();
    ir::verify(graph_, "fuse_batch_norms");
  }

 private:
  // The only node that reads the value; -1 when there are others, or when another batch norm took that node.
  int64_t only_reader(ValueId id) const {
    if (uses_[static_cast<size_t>(id)] != 1) return -1;
    const int64_t reader = reader_[static_cast<size_t>(id)];
    return reader >= 0 && !gone_[static_cast<size_t>(reader)] ? reader : -1;
  }

  void fuse(size_t at, size_t residual_input) {
    Node& norm = graph_.nodes[at];
    if (norm.inputs.size() > residual_input) return;
    int64_t next = only_reader(norm.outputs[0]);
    ValueId residual = kNone;
    if (next >= 0 && graph_.nodes[static_cast<size_t>(next)].op == "Add") {
      const Node& add = graph_.nodes[static_cast<size_t>(next)];
      const ValueId other = add.inputs[0] == norm.outputs[0] ? add.inputs[1] : add.inputs[0];
      if (graph_.value(other).type == graph_.value(norm.outputs[0]).type) {
        residual = other;
        take(norm, next);
        next = only_reader(norm.outputs[0]);
      }
    }
    if (residual != kNone) {
      norm.inputs.resize(residual_input, kNone);
      norm.inputs.push_back(residual);
    }
    if (next < 0) return;
    const Node& after = graph_.nodes[static_cast<size_t>(next)];
    if (after.op == "Relu") {
      norm.attributes.set("activation", std::string("Relu"));
    } else if (after.op == "Clip" && residual == kNone) {
      norm.attributes.set("activation", std::string("Clip"));
      norm.attributes.set("low", after.attributes.float_at("alpha"));
      norm.attributes.set("high", after.attributes.float_at("beta"));
    } else {
      return;
    }
    take(norm, next);
  }

  void take(Node& norm, int64_t node) {
    norm.outputs[0] = graph_.nodes[static_cast<size_t>(node)].outputs[0];
    gone_[static_cast<size_t>(node)] = true;
  }

  // Keeps the order but where a node now reads a value (its residual) that is produced later.
  void reorder() {
    std::vector<bool> ready(graph_.values.size());
    for (size_t v = 0; v < ready.size(); ++v) ready[v] = graph_.values[v].kind != ir::ValueKind::kActivation;
    std::vector<Node> ordered;
    std::vector<Node> waiting;
    const auto place = [&](Node& node) {
      const bool can = std::all_of(node.inputs.begin(), node.inputs.end(),
                                   [&](ValueId id) { return id == kNone || ready[static_cast<size_t>(id)]; });
      if (!can) return false;
      for (const ValueId id : node.outputs)
        if (id != kNone) ready[static_cast<size_t>(id)] = true;
      ordered.push_back(std::move(node));
      return true;
    };
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (gone_[i]) continue;
      if (!place(graph_.nodes[i])) {
        waiting.push_back(std::move(graph_.nodes[i]));
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
    HT_ASSERT(waiting.empty(), "fuse_batch_norms left {} {} without its inputs", waiting.front().op,
              waiting.front().name);
    graph_.nodes = std::move(ordered);
  }

  ir::Graph& graph_;
  std::vector<int32_t> uses_;
  std::vector<int64_t> reader_;  // the last node that reads each value
  std::vector<bool> gone_;       // nodes that a batch norm has taken along
};

}  // namespace

void fuse_batch_norms(ir::Graph& graph) {
  Fuser(graph).run();
}

}  // namespace halftone::pass
