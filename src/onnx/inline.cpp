#include "onnx/inline.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/error.h"
#include "onnx/domain.h"
#include "onnx/schema_fields.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::FunctionProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;

constexpr size_t kMaxInlined = size_t{1} << 20;  // nodes; the largest exported networks have some ten thousands

std::set<std::string> defined_in(const GraphProto& graph) {
  std::set<std::string> names;
  for (const auto& input : graph.input()) names.insert(input.name());
  for (const auto& t : graph.initializer()) names.insert(t.name());
  for (const auto& t : graph.sparse_initializer()) names.insert(t.values().name());
  for (const NodeProto& node : graph.node()) names.insert(node.output().begin(), node.output().end());
  return names;
}

void collect_captured(const GraphProto& graph, std::vector<std::string>& out) {
  const std::set<std::string> own = defined_in(graph);
  std::vector<std::string> read;
  for (const NodeProto& node : graph.node()) {
    read.insert(read.end(), node.input().begin(), node.input().end());
    const std::vector<std::string> inner = captured_names(node);
    read.insert(read.end(), inner.begin(), inner.end());
  }
  for (const auto& output : graph.output()) read.push_back(output.name());
  for (const std::string& name : read)
    if (!name.empty() && own.count(name) == 0 && std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
}

std::string overload_of(const google::protobuf::Message& message, int field) {
  const std::vector<std::string> texts = field_texts(message, field);
  return texts.empty() ? "" : texts.back();
}
// The attributes that a call may leave out.
std::map<std::string, AttributeProto> defaults_of(const FunctionProto& f) {
  std::map<std::string, AttributeProto> attributes;
  for (const std::string& text : field_texts(f, kFunctionAttributeProto)) {
    AttributeProto a;
    if (!a.ParseFromString(text)) throw input_error("an attribute of the function '{}' is damaged", f.name());
    attributes[a.name()] = a;
  }
  return attributes;
}

}  // namespace

std::vector<std::string> captured_names(const NodeProto& node) {
  std::vector<std::string> names;
  for (const AttributeProto& a : node.attribute()) {
    if (a.has_g()) collect_captured(a.g(), names);
    for (const GraphProto& g : a.graphs()) collect_captured(g, names);
  }
  return names;
}

const std::string& BodyCopier::define(const std::string& name) {
  return names_.emplace(name, name.empty() ? name : prefix_ + name).first->second;
}

std::string BodyCopier::outside(const std::string& name) const {
  const auto it = names_.find(name);
  return it == names_.end() ? name : it->second;
}

NodeProto BodyCopier::copy(const NodeProto& node, const std::map<std::string, AttributeProto>& attributes) {
  NodeProto out = node;
  for (std::string& name : *out.mutable_input()) name = outside(name);
  for (std::string& name : *out.mutable_output()) name = define(name);
  if (!out.name().empty()) out.set_name(prefix_ + out.name());
  out.clear_attribute();
  for (const AttributeProto& a : node.attribute()) {
    if (!a.ref_attr_name().empty()) {
      const auto given = attributes.find(a.ref_attr_name());
      if (given == attributes.end()) continue;  // not given and without a default: absent
      AttributeProto* made = out.add_attribute();
      *made = given->second;
      made->set_name(a.name());
      continue;
    }
    AttributeProto* made = out.add_attribute();
    *made = a;
    if (made->has_g()) rename_captured(*made->mutable_g(), attributes);
    for (GraphProto& g : *made->mutable_graphs()) rename_captured(g, attributes);
  }
  return out;
}

void BodyCopier::rename_captured(GraphProto& graph, const std::map<std::string, AttributeProto>& attributes) const {
  // What the graph defines hides the names around it.
  BodyCopier inner("", names_);
  for (const std::string& name : defined_in(graph)) inner.names_[name] = name;
  for (NodeProto& node : *graph.mutable_node()) node = inner.copy(node, attributes);
  for (auto& output : *graph.mutable_output()) output.set_name(inner.outside(output.name()));
}

namespace {

class Inliner {
 public:
  explicit Inliner(const ::onnx::ModelProto& model) {
    for (const FunctionProto& f : model.functions()) {
      if (is_default_domain(f.domain()) && ops::find_onnx(f.name()) != nullptr)
        throw input_error("the function '{}' has the name of one of ONNX's own operators, and programs differ in which of the two "
                          "they run; give it a domain or a name of its own",
                          f.name());
      if (!functions_.emplace(key(f.domain(), f.name(), overload_of(f, kFunctionOverload)), &f).second)
        throw input_error("the function '{}' is defined twice", f.name());
    }
    for (const NodeProto& node : model.graph().node()) {
      taken_.insert(node.output().begin(), node.output().end());
      taken_.insert(node.input().begin(), node.input().end());
    }
    for (const auto& t : model.graph().initializer()) taken_.insert(t.name());
    for (const auto& i : model.graph().input()) taken_.insert(i.name());
  }

  const FunctionProto* function_of(const NodeProto& node) const {
    const auto it = functions_.find(key(node.domain(), node.op_type(), overload_of(node, kNodeOverload)));
    return it == functions_.end() ? nullptr : it->second;
  }

  void expand(const NodeProto& call, const FunctionProto& f, const std::string& name, int file, int opset, Inlined& out) {
    if (std::find(running_.begin(), running_.end(), &f) != running_.end())
      throw input_error("the function '{}' calls itself", f.name());
    if (call.input_size() > f.input_size() || call.output_size() > f.output_size())
      throw input_error("node '{}' calls the function '{}' with {} inputs and {} outputs, it has {} and {}", name, f.name(),
                        call.input_size(), call.output_size(), f.input_size(), f.output_size());
    running_.push_back(&f);
    for (const auto& imported : f.opset_import())
      if (is_default_domain(imported.domain())) opset = static_cast<int>(std::clamp<int64_t>(imported.version(), -1, 1 << 30));
    const std::string prefix = free_prefix(f, name);
    std::map<std::string, std::string> names;
    for (int i = 0; i < f.input_size(); ++i) names[f.input(i)] = i < call.input_size() ? call.input(i) : "";
    const std::map<std::string, std::string> inputs = names;
    for (int i = 0; i < f.output_size() && i < call.output_size(); ++i)
      if (!call.output(i).empty() && inputs.count(f.output(i)) == 0) names[f.output(i)] = call.output(i);
    std::map<std::string, AttributeProto> attributes = defaults_of(f);
    for (const AttributeProto& a : call.attribute()) attributes[a.name()] = a;
    BodyCopier copier(prefix, std::move(names));
    int position = 0;
    for (const NodeProto& node : f.node()) {
      NodeProto copy = copier.copy(node, attributes);
      const std::string inner =
          copy.name().empty() ? fmt::format("{}{}#{}", prefix, copy.op_type(), position) : copy.name();
      ++position;
      add(std::move(copy), inner, file, opset, out);
    }
    // An output that is an input.
    for (int i = 0; i < f.output_size() && i < call.output_size(); ++i) {
      const auto input = inputs.find(f.output(i));
      if (input == inputs.end() || call.output(i).empty()) continue;
      NodeProto identity;
      identity.set_op_type("Identity");
      identity.set_name(fmt::format("{}Identity#{}", prefix, position++));
      identity.add_input(input->second);
      identity.add_output(call.output(i));
      add(std::move(identity), identity.name(), file, opset, out);
    }
    running_.pop_back();
  }

 private:
  static std::tuple<std::string, std::string, std::string> key(const std::string& domain, const std::string& name,
                                                               const std::string& overload) {
    return {is_default_domain(domain) ? "" : domain, name, overload};
  }

  void add(NodeProto node, const std::string& name, int file, int opset, Inlined& out) {
    if (const FunctionProto* f = function_of(node)) {
      expand(node, *f, name, file, opset, out);
      return;
    }
    if (out.copies.size() >= kMaxInlined) throw input_error("its functions, inlined, have more than {} nodes", kMaxInlined);
    node.set_name(name);
    out.nodes.push_back({file, static_cast<int>(out.copies.size()), opset});
    out.copies.push_back(std::move(node));
  }

  // "call/", with as many '_' as it takes for all names of the body to be free.
  std::string free_prefix(const FunctionProto& f, const std::string& name) {
    for (std::string prefix = name + "/";; prefix.insert(prefix.size() - 1, "_")) {
      bool free = true;
      for (const NodeProto& node : f.node())
        for (const std::string& output : node.output()) free = free && taken_.count(prefix + output) == 0;
      if (!free) continue;
      for (const NodeProto& node : f.node())
        for (const std::string& output : node.output())
          if (!output.empty()) taken_.insert(prefix + output);
      return prefix;
    }
  }

  std::map<std::tuple<std::string, std::string, std::string>, const FunctionProto*> functions_;
  std::set<std::string> taken_;
  std::vector<const FunctionProto*> running_;
};

}  // namespace

Inlined inline_functions(const ::onnx::ModelProto& model, const std::vector<int>& order, int opset) {
  Inliner inliner(model);
  Inlined out;
  for (const int file : order) {
    const NodeProto& node = model.graph().node(file);
    if (const FunctionProto* f = inliner.function_of(node)) {
      const std::string name = node.name().empty() ? fmt::format("{}#{}", node.op_type(), file) : node.name();
      inliner.expand(node, *f, name, file, opset, out);
    } else {
      out.nodes.push_back({file, -1, opset});
    }
  }
  return out;
}

}  // namespace halftone::onnx
