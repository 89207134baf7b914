#include "ir/graph.h"

#include <string_view>
#include <unordered_map>

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

namespace {

// Lifetimes that fit, and no two persistent values in one tensor of the store, which knows them by name.
void verify_values(const Graph& graph, const std::string& after_pass) {
  std::unordered_map<std::string_view, size_t> names;
  for (size_t v = 0; v < graph.values.size(); ++v) {
    const Value& value = graph.values[v];
    if (value.kind == ValueKind::kConstant)
      HT_ASSERT(value.data != nullptr, "after {}: constant {} has no data", after_pass, value.name);
    if (value.persistent())
      HT_ASSERT(names.emplace(value.name, v).second,
                "after {}: two persistent values are called '{}', so they would share memory", after_pass,
                value.name);
    HT_ASSERT(value.lifetime == Lifetime::kCheckpointed || value.kind == ValueKind::kState,
              "after {}: {} has a lifetime that only states have", after_pass, value.name);
    const bool derived = value.lifetime == Lifetime::kDerived;
    HT_ASSERT(derived == (value.source != kNone), "after {}: {} {}", after_pass, value.name,
              derived ? "is derived, but of no value" : "has a source, but is not derived");
    if (!derived) continue;
    HT_ASSERT(value.source >= 0 && static_cast<size_t>(value.source) < graph.values.size(),
              "after {}: {} is derived from an unknown value", after_pass, value.name);
    const Value& source = graph.value(value.source);
    HT_ASSERT(source.persistent() && source.lifetime == Lifetime::kCheckpointed,
              "after {}: {} is derived from {}, which is not checkpointed", after_pass, value.name,
              source.name);
    HT_ASSERT(source.type == value.type, "after {}: {} is {} {} and derived from {}, which is {} {}",
              after_pass, value.name, name_of(value.type.dtype), to_string(value.type.shape), source.name,
              name_of(source.type.dtype), to_string(source.type.shape));
  }
}

}  // namespace

void verify(const Graph& graph, const std::string& after_pass) {
  verify_values(graph, after_pass);
  std::vector<bool> ready(graph.values.size(), false);
  std::vector<bool> in_update(graph.values.size(), false);  // made by a node of the update phase
  for (size_t i = 0; i < graph.values.size(); ++i) ready[i] = graph.values[i].kind != ValueKind::kActivation;
  const auto known = [&](ValueId id) { return id >= 0 && static_cast<size_t>(id) < graph.values.size(); };
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id == kNone) continue;
      HT_ASSERT(known(id) && ready[static_cast<size_t>(id)],
                "after {}: {} {} reads value {} before it is produced", after_pass, node.op, node.name, id);
      HT_ASSERT(node.phase == Phase::kUpdate || !in_update[static_cast<size_t>(id)],
                "after {}: {} {} computes with {}, which only the update makes", after_pass, node.op,
                node.name, graph.value(id).name);
    }
    for (const ValueId id : node.outputs) {
      if (id == kNone) continue;
      HT_ASSERT(known(id), "after {}: {} {} writes an unknown value", after_pass, node.op, node.name);
      HT_ASSERT(!ready[static_cast<size_t>(id)], "after {}: {} {} produces {} a second time", after_pass,
                node.op, node.name, graph.value(id).name);
      ready[static_cast<size_t>(id)] = true;
      in_update[static_cast<size_t>(id)] = node.phase == Phase::kUpdate;
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

}  // namespace halftone::ir
