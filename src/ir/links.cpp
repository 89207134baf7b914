#include "ir/links.h"

namespace halftone::ir {

Links::Links(const Graph& graph)
    : graph_(graph),
      producers_(graph.producers()),
      uses_(graph.use_counts()),
      last_reader_(graph.values.size(), -1) {
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    for (const ValueId id : graph.nodes[i].inputs)
      if (id != kNone) last_reader_[static_cast<size_t>(id)] = static_cast<int64_t>(i);
}

const Node* Links::producer(ValueId id) const {
  const int32_t node = producers_[static_cast<size_t>(id)];
  return node < 0 ? nullptr : &graph_.nodes[static_cast<size_t>(node)];
}

const Node* Links::producer(ValueId id, std::string_view op) const {
  const Node* node = producer(id);
  return node != nullptr && node->op == op && node->outputs[0] == id ? node : nullptr;
}

int64_t Links::only_reader(ValueId id) const {
  return uses_[static_cast<size_t>(id)] == 1 ? last_reader_[static_cast<size_t>(id)] : -1;
}

}  // namespace halftone::ir
