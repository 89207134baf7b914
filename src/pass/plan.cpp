#include "pass/plan.h"

#include <algorithm>

#include "base/error.h"
#include "ops/op.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::ValueId;

int64_t aligned(int64_t bytes) {
  return (bytes + kPlaceAlignment - 1) / kPlaceAlignment * kPlaceAlignment;
}

bool in_arena(ir::ValueKind kind) {
  return kind == ir::ValueKind::kActivation || kind == ir::ValueKind::kInput;
}

struct Life {
  int64_t first = -1;  // node that writes it; -1 also for inputs, which are there before node 0
  int64_t last = -1;   // last node that reads it
  bool used = false;
};

}  // namespace

Plan plan_memory(const ir::Graph& graph, const std::vector<int64_t>& scratch_bytes) {
  const auto count = graph.values.size();
  const auto end = static_cast<int64_t>(graph.nodes.size());
  std::vector<Life> life(count);
  for (size_t v = 0; v < count; ++v) life[v].used = graph.values[v].kind == ir::ValueKind::kInput;
  for (int64_t i = 0; i < end; ++i) {
    const ir::Node& node = graph.nodes[static_cast<size_t>(i)];
    for (const ValueId id : node.outputs)
      if (id != kNone) life[static_cast<size_t>(id)] = {i, i, true};
    for (const ValueId id : node.inputs)
      if (id != kNone) life[static_cast<size_t>(id)].last = i;
  }
  for (const ValueId id : graph.outputs) life[static_cast<size_t>(id)].last = end;

  Plan plan;
  plan.places.resize(count);
  for (size_t v = 0; v < count; ++v) {
    plan.places[v].root = static_cast<ValueId>(v);
    plan.places[v].bytes = elements(graph.values[v].type.shape) * size_bytes(graph.values[v].type.dtype);
  }
  // Views and heirs share their root's buffer, whose life they extend. `buffer_last` is the life of the whole
  // buffer so far.
  std::vector<Life> buffer = life;
  for (int64_t i = 0; i < end; ++i) {
    const ir::Node& node = graph.nodes[static_cast<size_t>(i)];
    if (node.outputs.empty() || node.outputs[0] == kNone) continue;
    const ops::Alias alias = ops::find(node.op).alias;
    const ValueId out = node.outputs[0];
    const auto join = [&](ValueId input) {
      const ValueId root = plan.places[static_cast<size_t>(input)].root;
      plan.places[static_cast<size_t>(out)].root = root;
      Life& whole = buffer[static_cast<size_t>(root)];
      whole.last = std::max(whole.last, life[static_cast<size_t>(out)].last);
    };
    if (alias == ops::Alias::kView) {
      join(node.inputs[0]);
    } else if (alias == ops::Alias::kMayShare) {
      for (const ValueId input : node.inputs) {
        if (input == kNone) continue;
        const ValueId root = plan.places[static_cast<size_t>(input)].root;
        // Inputs of the graph are left alone: the same samples are read again when a bad step is examined.
        const bool free = graph.value(root).kind == ir::ValueKind::kActivation &&
                          buffer[static_cast<size_t>(root)].last <= i;
        if (free &&
            plan.places[static_cast<size_t>(root)].bytes == plan.places[static_cast<size_t>(out)].bytes) {
          join(input);
          break;
        }
      }
    }
  }

  std::vector<size_t> order;
  for (size_t v = 0; v < count; ++v)
    if (in_arena(graph.values[v].kind) && plan.places[v].root == static_cast<ValueId>(v) && buffer[v].used &&
        plan.places[v].bytes > 0)
      order.push_back(v);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return plan.places[a].bytes > plan.places[b].bytes; });
  std::vector<size_t> placed;  // by offset
  for (const size_t v : order) {
    int64_t offset = 0;
    const int64_t bytes = aligned(plan.places[v].bytes);
    for (const size_t other : placed) {
      if (buffer[other].last < buffer[v].first || buffer[v].last < buffer[other].first) continue;
      if (offset + bytes <= plan.places[other].offset) break;
      offset = std::max(offset, plan.places[other].offset + aligned(plan.places[other].bytes));
    }
    plan.places[v].offset = offset;
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](int64_t at, size_t other) { return at < plan.places[other].offset; }),
                  v);
    plan.activation_bytes = std::max(plan.activation_bytes, offset + bytes);
  }
  for (size_t v = 0; v < count; ++v) {
    const Place& root = plan.places[static_cast<size_t>(plan.places[v].root)];
    plan.places[v].offset = root.offset;
  }
  for (const int64_t bytes : scratch_bytes) plan.scratch_bytes = std::max(plan.scratch_bytes, aligned(bytes));
  plan.scratch_offset = plan.activation_bytes;
  plan.arena_bytes = plan.activation_bytes + plan.scratch_bytes;
  return plan;
}

}  // namespace halftone::pass
