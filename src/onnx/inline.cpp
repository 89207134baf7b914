#include "onnx/inline.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <type_traits>

#include "base/error.h"
#include "base/words.h"
#include "onnx/domain.h"
#include "onnx/schema_fields.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::FunctionProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;

constexpr const char* kThen = "then_branch";
constexpr const char* kElse = "else_branch";

constexpr size_t kMaxInlined = size_t{1}
                               << 20;  // nodes; the largest exported networks have some ten thousands

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
    if (!name.empty() && own.count(name) == 0 && std::find(out.begin(), out.end(), name) == out.end())
      out.push_back(name);
}

// The names of a body in the order in which its nodes define and read them. known: what it has before its
// first node.
std::string fault_of_nodes(const google::protobuf::RepeatedPtrField<NodeProto>& nodes,
                           std::set<std::string> known, bool captures) {
  std::set<std::string> computed;
  for (const NodeProto& node : nodes)
    for (const std::string& name : node.output())
      if (!name.empty() && (known.count(name) != 0 || !computed.insert(name).second))
        return fmt::format("defines '{}' twice", name);
  for (const NodeProto& node : nodes) {
    std::vector<std::string> read = captured_names(node);
    read.insert(read.end(), node.input().begin(), node.input().end());
    for (const std::string& name : read) {
      if (name.empty() || known.count(name) != 0) continue;
      if (computed.count(name) != 0) return fmt::format("reads '{}' before the node that computes it", name);
      if (!captures) return fmt::format("reads '{}', which nothing in it defines", name);
    }
    known.insert(node.output().begin(), node.output().end());
  }
  return "";
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

void BodyCopier::rename_captured(GraphProto& graph,
                                 const std::map<std::string, AttributeProto>& attributes) const {
  std::vector<std::string> captured;
  collect_captured(graph, captured);
  std::set<std::string> read;
  for (const std::string& name : captured) read.insert(outside(name));
  // What the graph defines hides the names around it; where what it captures has such a name now, its own
  // gets another one.
  const std::set<std::string> own = defined_in(graph);
  BodyCopier inner("", names_);
  for (const std::string& name : own) {
    std::string free = name;
    while (!name.empty() && (read.count(free) != 0 || (free != name && own.count(free) != 0))) free += "_";
    inner.names_[name] = free;
  }
  for (auto& input : *graph.mutable_input()) input.set_name(inner.outside(input.name()));
  for (auto& t : *graph.mutable_initializer()) t.set_name(inner.outside(t.name()));
  for (NodeProto& node : *graph.mutable_node()) node = inner.copy(node, attributes);
  for (auto& output : *graph.mutable_output()) output.set_name(inner.outside(output.name()));
}

namespace {

// Where a node of a body stands.
struct Site {
  int file = -1;
  int opset = 0;
  std::vector<Guard> guards = {};
  TensorPlace::Path within = {};  // from the graph to its body, through branches
  bool function = false;          // in a function: its body may be there again and again
};

int index_of(const NodeProto& node, const char* attribute) {
  for (int i = 0; i < node.attribute_size(); ++i)
    if (node.attribute(i).name() == attribute && node.attribute(i).has_g()) return i;
  return -1;
}

// A tensor of a branch that add_constant (read_graph.cpp) can read.
bool has_one_value(const NodeProto& node) {
  if (!is_default_domain(node.domain()) || node.op_type() != "Constant" || node.output_size() != 1)
    return false;
  if (node.attribute_size() != 1) return false;
  const AttributeProto& a = node.attribute(0);
  return a.name() == "value"
             ? a.has_t()
             : is_one_of(a.name(), {"value_float", "value_floats", "value_int", "value_ints"});
}

class Inliner {
 public:
  Inliner(const ::onnx::ModelProto& model, KnownValues& known) : known_(known) {
    const auto has_if = [](const auto& nodes) { return std::any_of(nodes.begin(), nodes.end(), is_if); };
    has_conditions_ = has_if(model.graph().node());
    for (const FunctionProto& f : model.functions()) has_conditions_ = has_conditions_ || has_if(f.node());
    for (const FunctionProto& f : model.functions()) {
      if (is_default_domain(f.domain()) && ops::find_onnx(f.name()) != nullptr)
        throw input_error(
            "the function '{}' has the name of one of ONNX's own operators, and programs differ in which of "
            "the two "
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

  // A node of the graph.
  void add_file_node(const NodeProto& node, int file, int opset, Inlined& out) {
    const std::string name = node.name().empty() ? fmt::format("{}#{}", node.op_type(), file) : node.name();
    const Site at{file, opset};
    if (const FunctionProto* f = function_of(node)) {
      expand(node, *f, name, at, out);
    } else if (is_if(node) && fault_of_branches(node).empty()) {
      expand_if(node, name, file, at, out);
    } else {
      if (has_conditions_) known_.visit(node, opset);
      out.nodes.push_back({file, -1, opset});
    }
  }

 private:
  static bool is_if(const NodeProto& node) {
    return is_default_domain(node.domain()) && node.op_type() == "If";
  }

  void expand(const NodeProto& call, const FunctionProto& f, const std::string& name, Site at, Inlined& out) {
    if (std::find(running_.begin(), running_.end(), &f) != running_.end())
      throw input_error("the function '{}' calls itself", f.name());
    if (call.input_size() > f.input_size() || call.output_size() > f.output_size())
      throw input_error("node '{}' calls the function '{}' with {} inputs and {} outputs, it has {} and {}",
                        name, f.name(), call.input_size(), call.output_size(), f.input_size(),
                        f.output_size());
    const std::string fault = fault_of_nodes(f.node(), {f.input().begin(), f.input().end()}, false);
    if (!fault.empty()) throw input_error("the function '{}' {}", f.name(), fault);
    running_.push_back(&f);
    at.function = true;
    for (const auto& imported : f.opset_import())
      if (is_default_domain(imported.domain()))
        at.opset = static_cast<int>(std::clamp<int64_t>(imported.version(), -1, 1 << 30));
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
      add(std::move(copy), inner, position, at, out);
      ++position;
    }
    // An output that is an input.
    for (int i = 0; i < f.output_size() && i < call.output_size(); ++i) {
      const auto input = inputs.find(f.output(i));
      if (input == inputs.end() || call.output(i).empty()) continue;
      add_identity(input->second, call.output(i), fmt::format("{}Identity#{}", prefix, position), position,
                   at, out);
      ++position;
    }
    running_.pop_back();
  }

  // index: of the node in the body that it is a copy of.
  void expand_if(const NodeProto& node, const std::string& name, int index, const Site& at, Inlined& out) {
    const std::string condition = node.input(0);
    const std::optional<bool> known = known_.truth(condition);
    std::vector<std::string> results[2];
    for (const bool then : {true, false}) {
      if (known && *known != then) continue;
      const char* const attribute = then ? kThen : kElse;
      const int place = index_of(node, attribute);
      Site inside = at;
      inside.within.emplace_back(index, place);
      if (!known) inside.guards.push_back({condition, then});
      const GraphProto& graph = node.attribute(place).g();
      results[then ? 0 : 1] =
          expand_branch(graph, fmt::format("{}/{}", name, attribute), inside,
                        known ? names_of_results(graph, node) : std::map<std::string, std::string>(), out);
    }
    if (known) {
      // Results that are the branch's own tensors, or come from outside it.
      for (int k = 0; k < node.output_size(); ++k)
        if (const std::string& from = results[*known ? 0 : 1][static_cast<size_t>(k)];
            !node.output(k).empty() && from != node.output(k))
          add_identity(from, node.output(k), fmt::format("{}/Identity#{}", name, k), index, at, out);
      return;
    }
    NodeProto choice;
    choice.set_op_type("If");
    choice.set_name(name);
    choice.add_input(condition);
    for (const auto& list : results)
      for (int k = 0; k < node.output_size(); ++k) choice.add_input(list[static_cast<size_t>(k)]);
    *choice.mutable_output() = node.output();
    push(std::move(choice), at, out);
    out.nodes.back().choice = true;
  }

  // What the nodes of a branch that is taken compute has the names that the If gives it.
  static std::map<std::string, std::string> names_of_results(const GraphProto& graph, const NodeProto& node) {
    std::set<std::string> computed;
    for (const NodeProto& n : graph.node())
      if (n.op_type() != "Constant") computed.insert(n.output().begin(), n.output().end());
    std::map<std::string, std::string> names;
    for (int k = 0; k < node.output_size(); ++k)
      if (!node.output(k).empty() && computed.count(graph.output(k).name()) != 0)
        names.emplace(graph.output(k).name(), node.output(k));
    return names;
  }

  // Returns the names of the branch's results. names: those that its own have outside.
  std::vector<std::string> expand_branch(const GraphProto& graph, const std::string& name, const Site& at,
                                         std::map<std::string, std::string> names, Inlined& out) {
    const std::string prefix = free_prefix(graph, name);
    BodyCopier copier(prefix, std::move(names));
    for (const auto& t : graph.initializer()) copier.define(t.name());
    for (const NodeProto& n : graph.node())
      for (const std::string& output : n.output()) copier.define(output);
    for (int i = 0; i < graph.initializer_size(); ++i) {
      const std::string made = copier.outside(graph.initializer(i).name());
      if (!at.function) {
        out.tensors.push_back({made, {i, -1, -1, at.within}});
        continue;
      }
      NodeProto constant;
      constant.set_op_type("Constant");
      constant.add_output(made);
      auto* value = constant.add_attribute();
      value->set_name("value");
      value->set_type(AttributeProto::TENSOR);
      *value->mutable_t() = graph.initializer(i);
      add(std::move(constant), made, -1, at, out);
    }
    for (int i = 0; i < graph.node_size(); ++i) {
      NodeProto copy = copier.copy(graph.node(i), {});
      const std::string inner =
          copy.name().empty() ? fmt::format("{}{}#{}", prefix, copy.op_type(), i) : copy.name();
      add(std::move(copy), inner, i, at, out);
    }
    std::vector<std::string> results;
    for (const auto& output : graph.output()) results.push_back(copier.outside(output.name()));
    return results;
  }

  static std::tuple<std::string, std::string, std::string> key(const std::string& domain,
                                                               const std::string& name,
                                                               const std::string& overload) {
    return {is_default_domain(domain) ? "" : domain, name, overload};
  }

  void add_identity(const std::string& from, const std::string& to, const std::string& name, int index,
                    const Site& at, Inlined& out) {
    NodeProto identity;
    identity.set_op_type("Identity");
    identity.set_name(name);
    identity.add_input(from);
    identity.add_output(to);
    add(std::move(identity), name, index, at, out);
  }

  void add(NodeProto node, const std::string& name, int index, const Site& at, Inlined& out) {
    if (const FunctionProto* f = function_of(node)) {
      expand(node, *f, name, at, out);
      return;
    }
    if (is_if(node) && fault_of_branches(node).empty()) {
      expand_if(node, name, index, at, out);
      return;
    }
    if (has_conditions_) known_.visit(node, at.opset);
    if (!at.function && has_one_value(node)) {
      // Read from the file when somebody wants it, as its other tensors are.
      out.tensors.push_back({node.output(0), {-1, index, 0, at.within}});
      node.clear_attribute();
    }
    node.set_name(name);
    push(std::move(node), at, out);
  }

  static void push(NodeProto node, const Site& at, Inlined& out) {
    if (out.copies.size() >= kMaxInlined)
      throw input_error("its functions and branches, inlined, have more than {} nodes", kMaxInlined);
    out.nodes.push_back({at.file, static_cast<int>(out.copies.size()), at.opset, at.guards});
    out.copies.push_back(std::move(node));
  }

  // "name/", with as many '_' as it takes for all names of the body to be free.
  template <typename Body>
  std::string free_prefix(const Body& body, const std::string& name) {
    std::vector<std::string> own;
    for (const NodeProto& node : body.node())
      own.insert(own.end(), node.output().begin(), node.output().end());
    if constexpr (std::is_same_v<Body, GraphProto>)
      for (const auto& t : body.initializer()) own.push_back(t.name());
    own.erase(std::remove(own.begin(), own.end(), ""), own.end());
    for (std::string prefix = name + "/";; prefix.insert(prefix.size() - 1, "_")) {
      if (std::any_of(own.begin(), own.end(), [&](const auto& n) { return taken_.count(prefix + n) != 0; }))
        continue;
      for (const std::string& n : own) taken_.insert(prefix + n);
      return prefix;
    }
  }

  KnownValues& known_;
  bool has_conditions_ = false;
  std::map<std::tuple<std::string, std::string, std::string>, const FunctionProto*> functions_;
  std::set<std::string> taken_;
  std::vector<const FunctionProto*> running_;
};

}  // namespace

std::string fault_of_graph(const GraphProto& graph, std::string_view attribute) {
  if (graph.sparse_initializer_size() > 0)
    return fmt::format("its graph '{}' has a sparse initializer", attribute);
  std::set<std::string> known;
  for (const auto& input : graph.input()) known.insert(input.name());
  for (const auto& t : graph.initializer())
    if (t.name().empty() || !known.insert(t.name()).second)
      return fmt::format("its graph '{}' defines '{}' twice", attribute, t.name());
  const std::string fault = fault_of_nodes(graph.node(), std::move(known), true);
  return fault.empty() ? "" : fmt::format("its graph '{}' {}", attribute, fault);
}

std::string fault_of_branches(const NodeProto& node) {
  if (node.input_size() != 1 || node.input(0).empty())
    return fmt::format("it has {} inputs, expected a condition", node.input_size());
  for (const char* const attribute : {kThen, kElse}) {
    const int place = index_of(node, attribute);
    if (place < 0) return fmt::format("it has no graph '{}'", attribute);
    const GraphProto& graph = node.attribute(place).g();
    if (graph.input_size() > 0)
      return fmt::format("its graph '{}' has inputs, which no branch has", attribute);
    if (graph.output_size() < node.output_size())
      return fmt::format("it has {} outputs, its graph '{}' {}", node.output_size(), attribute,
                         graph.output_size());
    for (const AttributeProto& a : node.attribute())
      if (a.name() != kThen && a.name() != kElse)
        return fmt::format("the attribute '{}' is not understood", a.name());
    if (std::string fault = fault_of_graph(graph, attribute); !fault.empty()) return fault;
  }
  return "";
}

Inlined inline_bodies(const ::onnx::ModelProto& model, const std::vector<int>& order, int opset,
                      KnownValues& known) {
  Inliner inliner(model, known);
  Inlined out;
  for (const int file : order) inliner.add_file_node(model.graph().node(file), file, opset, out);
  return out;
}

}  // namespace halftone::onnx
