// Who makes and who reads each value, for passes that look for patterns. Of the graph as it was when the
// links were made.
#pragma once

#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace halftone::ir {

class Links {
 public:
  explicit Links(const Graph& graph);

  const Graph& graph() const { return graph_; }
  const Shape& shape(ValueId id) const { return graph_.value(id).type.shape; }
  // The node that makes the value; nullptr: none does.
  const Node* producer(ValueId id) const;
  // The same if it is an `op` and the value is its first output, else nullptr.
  const Node* producer(ValueId id, std::string_view op) const;
  // The index of the node that alone reads the value, and once; -1: nobody does, others do too, or an output
  // of the graph is the value.
  int64_t only_reader(ValueId id) const;

 private:
  const Graph& graph_;
  std::vector<int32_t> producers_;
  std::vector<int32_t> uses_;
  std::vector<int64_t> last_reader_;
};

}  // namespace halftone::ir
