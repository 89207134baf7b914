#include "onnx/branch_contents.h"

#include <utility>

#include "base/error.h"
#include "onnx/inline.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {
namespace {

std::shared_ptr<const Branch> branch_of(const std::shared_ptr<const Contents>& contents,
                                        const ::onnx::NodeProto& node, const NodeInfo& info,
                                        std::string_view attribute, int64_t round) {
  const ::onnx::GraphProto* graph = nullptr;
  for (const auto& a : node.attribute())
    if (a.name() == attribute && a.has_g()) graph = &a.g();
  if (graph == nullptr) throw input_error("it has no graph '{}'", attribute);
  if (const std::string fault = fault_of_graph(*graph, attribute); !fault.empty())
    throw input_error("{}", fault);
  auto branch = std::make_shared<Branch>();
  auto own = std::make_shared<BranchContents>();
  own->contents = contents;
  const std::string prefix = round < 0 ? fmt::format("{}/{}/", info.name, attribute)
                                       : fmt::format("{}/{}/{}/", info.name, attribute, round);
  BodyCopier copier(prefix, {});
  for (const auto& input : graph->input()) own->inputs.push_back(copier.define(input.name()));
  for (const auto& t : graph->initializer())
    branch->tensors.emplace(copier.define(t.name()), decode(t, contents->file));
  int position = 0;
  for (const ::onnx::NodeProto& n : graph->node()) {
    own->nodes.push_back(copier.copy(n, {}));
    NodeInfo made = node_info(own->nodes.back(), position++, info.opset);
    if (n.name().empty()) made.name = prefix + made.name;
    branch->nodes.push_back(std::move(made));
  }
  for (const auto& output : graph->output()) branch->outputs.push_back(copier.outside(output.name()));
  branch->contents = std::move(own);
  return branch;
}

}  // namespace

ir::Attributes Branch::attributes(size_t node) const {
  return attributes_of(contents->nodes[node], contents->contents->file);
}

std::shared_ptr<const Branch> branch_of(const Model& model, size_t node, std::string_view attribute,
                                        int64_t round) {
  const std::shared_ptr<const Contents> contents(std::shared_ptr<const Contents>(), &model.contents());
  return branch_of(contents, proto_of(*contents, node), contents->nodes[node], attribute, round);
}

std::shared_ptr<const Branch> branch_of(const Branch& branch, size_t node, std::string_view attribute,
                                        int64_t round) {
  const BranchContents& c = *branch.contents;
  return branch_of(c.contents, c.nodes[node], branch.nodes[node], attribute, round);
}

}  // namespace halftone::onnx
