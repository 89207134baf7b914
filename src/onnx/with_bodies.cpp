#include "onnx/with_bodies.h"

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "base/resource_error.h"
#include "onnx/branch_contents.h"

namespace halftone::onnx {
namespace {

class Bodies {
 public:
  Bodies(std::vector<NodeInfo>& out, std::set<std::string>& known, Carried& carried)
      : out_(out), known_(known), carried_(carried) {}

  template <class Owner>  // Model or Branch
  void add(const NodeInfo& node, const Owner& owner, size_t index) {
    const std::string& op = node.op_type;
    const bool own = node.domain.empty();
    if (own && op == "If" && !node.choice) {
      for (const char* name : {"then_branch", "else_branch"}) add_graph(node, owner, index, name, 0, 0);
    } else if (own && op == "Loop") {
      add_graph(node, owner, index, "body", 1, 2);
    } else if (own && (op == "Scan" || op == "SequenceMap")) {
      add_graph(node, owner, index, "body", 0, 0);
    } else {
      out_.push_back(node);
      if (depth_ > 0) out_.back().guards.emplace_back();
    }
  }

 private:
  // skipped: outputs of the graph that are none of the node's, from the first; counters: inputs before those
  // that are carried. A damaged graph is the importer's to refuse.
  template <class Owner>
  void add_graph(const NodeInfo& node, const Owner& owner, size_t index, const char* name, size_t skipped,
                 size_t counters) {
    std::shared_ptr<const Branch> graph;
    try {
      graph = branch_of(owner, index, name, 0);
    } catch (const Error& e) {
      rethrow_if_resource(e);
      return;
    }
    for (const auto& [tensor, data] : graph->tensors) known_.insert(tensor);
    for (size_t k = 0; k < graph->contents->inputs.size() && k < node.declared_inputs; ++k)
      if (!node.inputs[k].empty()) view(node, node.inputs[k], graph->contents->inputs[k]);
    ++depth_;
    for (size_t i = 0; i < graph->nodes.size(); ++i) add(graph->nodes[i], *graph, i);
    --depth_;
    for (size_t k = 0; k < node.outputs.size() && k + skipped < graph->outputs.size(); ++k)
      if (!node.outputs[k].empty()) view(node, graph->outputs[k + skipped], node.outputs[k]);
    for (size_t k = 0; k < count_carried(node, owner, index); ++k)
      if (k + counters < graph->contents->inputs.size() && k + skipped < graph->outputs.size())
        carried_.emplace_back(graph->outputs[k + skipped], graph->contents->inputs[k + counters]);
  }
  template <class Owner>
  static size_t count_carried(const NodeInfo& node, const Owner& owner, size_t index) {
    const auto inputs = static_cast<int64_t>(node.declared_inputs);
    int64_t others = inputs;
    if (node.op_type == "Loop") others = 2;
    if (node.op_type == "Scan") others = owner.attributes(index).int_or("num_scan_inputs", inputs);
    return others < 0 || others > inputs ? 0 : static_cast<size_t>(inputs - others);
  }
  void view(const NodeInfo& node, const std::string& from, const std::string& to) {
    NodeInfo made;
    made.name = node.name;
    made.op_type = "Identity";
    made.opset = node.opset;
    made.inputs = {from};
    made.outputs = {to};
    made.declared_inputs = 1;
    out_.push_back(std::move(made));
  }

  std::vector<NodeInfo>& out_;
  std::set<std::string>& known_;
  Carried& carried_;
  int depth_ = 0;
};
}  // namespace

std::vector<NodeInfo> with_bodies(const Model& model, std::set<std::string>& known, Carried& carried) {
  std::vector<NodeInfo> out;
  Bodies bodies(out, known, carried);
  for (size_t i = 0; i < model.nodes().size(); ++i) bodies.add(model.nodes()[i], model, i);
  return out;
}

}  // namespace halftone::onnx
