#include "pass/layout.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "ops/op.h"
#include "ops/verify.h"
#include "tensor/permutation.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;
using Axes = std::vector<int64_t>;

bool is_identity(const Axes& perm) {
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return true;
}

// Whether transposing `shape` leaves the bytes where they are: axes longer than 1 keep their order.
bool keeps_order(const Shape& shape, const Axes& perm) {
  int64_t last = -1;
  for (const int64_t axis : perm) {
    if (shape[static_cast<size_t>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

class Sinker {
 public:
  Sinker(ir::Graph& graph, DType storage) : graph_(graph), builder_(graph, storage) {}

  void run() {
    const std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (const Node& node : nodes) {
      builder_.set_origin(node.name);
      builder_.set_phase(node.phase);
      visit(node);
    }
    builder_.set_phase(ir::Phase::kCompute);
    for (ValueId& id : graph_.outputs) id = materialize(id);
  }

 private:
  // Value v is Transpose(source, perm), not computed so far.
  struct Lazy {
    ValueId source;
    Axes perm;
  };

  ValueId resolve(ValueId id) const {
    const auto it = replaced_.find(id);
    return it == replaced_.end() ? id : it->second;
  }

  const Lazy* lazy(ValueId id) const {
    const auto it = lazy_.find(resolve(id));
    return it == lazy_.end() ? nullptr : &it->second;
  }

  ValueId materialize(ValueId id) {
    if (id == kNone) return kNone;
    id = resolve(id);
    const auto it = lazy_.find(id);
    if (it == lazy_.end()) return id;
    const auto done = materialized_.find(id);
    if (done != materialized_.end()) return done->second;
    const Lazy entry = it->second;
    const Shape shape = builder_.shape(id);
    const ValueId made = keeps_order(builder_.shape(entry.source), entry.perm)
                             ? builder_.reshape(entry.source, shape)
                             : builder_.transpose(entry.source, entry.perm);
    materialized_[id] = made;
    return made;
  }

  // `id` as it would be before a Transpose by `perm`, with as many axes.
  ValueId before(ValueId id, const Axes& perm) {
    const Lazy* entry = lazy(id);
    if (entry != nullptr && entry->perm == perm) return entry->source;
    ValueId x = materialize(id);
    Shape shape = builder_.shape(x);
    shape.insert(shape.begin(), perm.size() - shape.size(), 1);
    const Axes back = inverse(perm);
    if (keeps_order(shape, back)) {
      Shape moved;
      for (const int64_t axis : back) moved.push_back(shape[static_cast<size_t>(axis)]);
      return builder_.reshape(x, moved);
    }
    return builder_.transpose(builder_.reshape(x, shape), back);
  }

  void visit(const Node& node) {
    if (node.op == "Transpose") return visit_transpose(node);
    const ops::OpDef& def = ops::find(node.op);
    if (def.permute == ops::Permute::kElementwise && through_elementwise(node)) return;
    if (def.permute == ops::Permute::kAxes && through_axes(node, def)) return;
    keep(node);
  }

  void visit_transpose(const Node& node) {
    const ValueId x = resolve(node.inputs[0]);
    Axes perm = node.attributes.ints_at("perm");
    ValueId source = x;
    if (const Lazy* entry = lazy(x)) {
      source = entry->source;
      for (int64_t& axis : perm) axis = entry->perm[static_cast<size_t>(axis)];
    }
    if (is_identity(perm)) {
      replaced_[node.outputs[0]] = source;
    } else {
      lazy_[node.outputs[0]] = {source, perm};
    }
  }

  bool through_elementwise(const Node& node) {
    const Shape& y = builder_.shape(node.outputs[0]);
    const Lazy* leader = nullptr;
    for (const ValueId id : node.inputs)
      if (id != kNone && builder_.shape(id) == y && leader == nullptr) leader = lazy(id);
    if (leader == nullptr) return false;
    const Axes perm = leader->perm;
    std::vector<ValueId> inputs;
    for (const ValueId id : node.inputs) {
      const bool single = id == kNone || elements(builder_.shape(id)) == 1;
      inputs.push_back(single ? materialize(id) : before(id, perm));
    }
    const std::vector<ValueId> out = builder_.add(node.op, inputs, node.attributes);
    for (size_t i = 0; i < out.size(); ++i) lazy_[node.outputs[i]] = {out[i], perm};
    return true;
  }

  bool through_axes(const Node& node, const ops::OpDef& def) {
    const Lazy* leader = lazy(node.inputs[0]);
    if (leader == nullptr) return false;
    const Axes perm = leader->perm;
    ops::Permuted permuted = def.permute_rule(graph_, node, perm);
    if (!permuted.possible) return false;
    std::vector<ValueId> inputs;
    for (const ValueId id : node.inputs) {
      const bool moves = id != kNone && builder_.shape(id).size() == perm.size();
      inputs.push_back(moves ? before(id, perm) : materialize(id));
    }
    const std::vector<ValueId> out = builder_.add(node.op, inputs, std::move(permuted.attributes));
    for (size_t i = 0; i < out.size(); ++i) {
      if (permuted.output_axes.empty() || is_identity(permuted.output_axes)) {
        replaced_[node.outputs[i]] = out[i];
      } else {
        lazy_[node.outputs[i]] = {out[i], permuted.output_axes};
      }
    }
    return true;
  }

  void keep(const Node& node) {
    Node copy = node;
    for (ValueId& id : copy.inputs) id = materialize(id);
    graph_.nodes.push_back(std::move(copy));
  }

  ir::Graph& graph_;
  ops::Builder builder_;
  std::map<ValueId, Lazy> lazy_;
  std::map<ValueId, ValueId> materialized_;
  std::map<ValueId, ValueId> replaced_;
};

// The one permutation by which Transposes read a value that nothing else reads; null: there is none.
const Axes* only_transpose(const ir::Graph& graph, ValueId id) {
  const Axes* perm = nullptr;
  for (const Node& node : graph.nodes)
    for (const ValueId input : node.inputs) {
      if (input != id) continue;
      if (node.op != "Transpose" || (perm != nullptr && *perm != node.attributes.ints_at("perm")))
        return nullptr;
      perm = &node.attributes.ints_at("perm");
    }
  const bool given = std::find(graph.outputs.begin(), graph.outputs.end(), id) != graph.outputs.end();
  return given ? nullptr : perm;
}

// The value is stored as its Transposes, all by `axes`, give it; they go.
void store_transposed(ir::Graph& graph, ValueId id, const Axes& axes) {
  ir::Value& value = graph.value(id);
  Shape shape;
  for (const int64_t axis : axes) shape.push_back(value.type.shape[static_cast<size_t>(axis)]);
  value.type.shape = shape;
  value.storage_axes = axes;
  std::map<ValueId, ValueId> replaced;
  const auto replace = [&](ValueId& read) {
    if (const auto it = replaced.find(read); it != replaced.end()) read = it->second;
  };
  std::vector<Node> kept;
  for (Node& node : graph.nodes) {
    if (node.op == "Transpose" && node.inputs[0] == id) {
      replaced[node.outputs[0]] = id;
      continue;
    }
    std::for_each(node.inputs.begin(), node.inputs.end(), replace);
    kept.push_back(std::move(node));
  }
  graph.nodes = std::move(kept);
  std::for_each(graph.outputs.begin(), graph.outputs.end(), replace);
}

}  // namespace

void sink_transposes(ir::Graph& graph, DType storage) {
  Sinker(graph, storage).run();
  ops::verify(graph, "sink_transposes");
}

void absorb_parameter_transposes(ir::Graph& graph) {
  for (size_t p = 0; p < graph.values.size(); ++p) {
    if (graph.values[p].kind != ir::ValueKind::kParameter) continue;
    const auto id = static_cast<ValueId>(p);
    if (const Axes* perm = only_transpose(graph, id)) store_transposed(graph, id, Axes(*perm));
  }
  ops::verify(graph, "absorb_parameter_transposes");
}

void absorb_input_transposes(ir::Graph& graph) {
  for (const ValueId id : std::vector<ValueId>(graph.inputs)) {
    const Axes* perm = only_transpose(graph, id);
    // Feeding takes rows of the batch.
    if (perm != nullptr && perm->front() == 0) store_transposed(graph, id, Axes(*perm));
  }
  ops::verify(graph, "absorb_input_transposes");
}

}  // namespace halftone::pass
