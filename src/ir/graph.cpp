#include "ir/graph.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::ir {

std::shared_ptr<const Tensor> Value::initial() const {
  if (data != nullptr || load == nullptr) return data;
  return std::make_shared<const Tensor>(load());
}

ValueId Graph::add_value(Value value) {
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size() - 1);
}

std::vector<int32_t> Graph::producers() const {
  std::vector<int32_t> producer(values.size(), -1);
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const ValueId id : nodes[i].outputs)
      if (id != kNone) producer[static_cast<size_t>(id)] = static_cast<int32_t>(i);
  return producer;
}

std::vector<int32_t> Graph::use_counts() const {
  std::vector<int32_t> uses(values.size(), 0);
  for (const Node& node : nodes)
    for (const ValueId id : node.inputs)
      if (id != kNone) ++uses[static_cast<size_t>(id)];
  for (const ValueId id : outputs) ++uses[static_cast<size_t>(id)];
  return uses;
}

void verify(const Graph& graph, const std::string& after_pass) {
  std::vector<bool> ready(graph.values.size(), false);
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    ready[i] = value.kind != ValueKind::kActivation;
    if (value.kind == ValueKind::kConstant)
      HT_ASSERT(value.data != nullptr, "after {}: constant {} has no data", after_pass, value.name);
  }
  const auto known = [&](ValueId id) { return id >= 0 && static_cast<size_t>(id) < graph.values.size(); };
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id == kNone) continue;
      HT_ASSERT(known(id) && ready[static_cast<size_t>(id)],
                "after {}: {} {} reads value {} before it is produced", after_pass, node.op, node.name, id);
    }
    for (const ValueId id : node.outputs) {
      if (id == kNone) continue;
      HT_ASSERT(known(id), "after {}: {} {} writes an unknown value", after_pass, node.op, node.name);
      HT_ASSERT(!ready[static_cast<size_t>(id)], "after {}: {} {} produces {} a second time", after_pass,
                node.op, node.name, graph.value(id).name);
      ready[static_cast<size_t>(id)] = true;
    }
  }
  for (const ValueId id : graph.outputs)
    HT_ASSERT(known(id) && ready[static_cast<size_t>(id)], "after {}: an output is not produced", after_pass);
}

std::string print(const Graph& graph) {
  const auto text = [&](ValueId id) {
    if (id == kNone) return std::string("-");
    const Value& v = graph.value(id);
    return fmt::format("%{}:{}:{}{}", id, name_of(v.type.dtype), to_string(v.type.shape),
                       v.kind == ValueKind::kParameter ? "[" + v.name + "]" : "");
  };
  std::string out;
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.outputs) out += text(id) + " ";
    out += "= " + node.op;
    for (const ValueId id : node.inputs) out += " " + text(id);
    out += "\n";
  }
  return out;
}

void remove_dead_nodes(Graph& graph) {
  std::vector<bool> live(graph.values.size(), false);
  for (const ValueId id : graph.outputs) live[static_cast<size_t>(id)] = true;
  std::vector<Node> kept;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    Node& node = graph.nodes[i];
    const bool needed = node.phase == Phase::kUpdate || node.attributes.has("effect") ||
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

}  // namespace halftone::ir
