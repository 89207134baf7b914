#include "onnx/pytorch_names.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "onnx/model_contents.h"
#include "onnx/roles.h"
#include "onnx/schema_fields.h"
#include "onnx/sharing.h"
#include "onnx/tensor_signs.h"

namespace halftone::onnx {
namespace {

std::string_view role_of_input(std::string_view op, size_t input) {
  if (op == "MatMul") return "weight";
  if (op == "Add") return "bias";
  if (op == "PRelu") return input == 1 ? "weight" : "";
  if (op == "BatchNormalization") {
    constexpr std::string_view kRoles[] = {"", "weight", "bias", "running_mean", "running_var"};
    return input < 5 ? kRoles[input] : "";
  }
  if (op == "Conv" || op == "ConvTranspose" || op == "Gemm" || op == "InstanceNormalization" ||
      op == "LayerNormalization" || op == "GroupNormalization" || op == "RMSNormalization")
    return input == 1 ? "weight" : input == 2 ? "bias" : "";
  return "";
}

// The newer exporter notes a node's modules in its metadata: "['', 'layer1', 'layer1.0', 'layer1.0.act',
// 'prelu']", the last being the operator.
std::string noted_module(const ::onnx::NodeProto& node) {
  for (const std::string& bytes : field_texts(node, kNodeMetadata)) {
    ::onnx::StringStringEntryProto entry;
    if (!entry.ParseFromString(bytes) || entry.key() != "pkg.torch.onnx.name_scopes") continue;
    std::vector<std::string> scopes;
    const std::string& text = entry.value();
    for (size_t open = text.find('\''); open != std::string::npos; open = text.find('\'', open)) {
      const size_t close = text.find('\'', open + 1);
      if (close == std::string::npos) break;
      scopes.push_back(text.substr(open + 1, close - open - 1));
      open = close + 1;
    }
    if (scopes.size() > 1) return scopes[scopes.size() - 2];
  }
  return {};
}

}  // namespace

std::string module_path(std::string_view node_name) {
  if (node_name.empty() || node_name[0] != '/') return {};
  std::string path;
  std::string_view last;  // the component before, as written
  node_name.remove_prefix(1);
  for (size_t slash = node_name.find('/'); slash != std::string_view::npos; slash = node_name.find('/')) {
    const std::string_view part = node_name.substr(0, slash);
    node_name.remove_prefix(slash + 1);
    // "layer1", then "layer1.0": a child of a Sequential repeats its parent.
    if (!last.empty() && part.size() > last.size() && part.substr(0, last.size()) == last &&
        part[last.size()] == '.') {
      path += part.substr(last.size());
    } else {
      if (!path.empty()) path += '.';
      path += part;
    }
    last = part;
  }
  return path;
}

std::string module_of(const Model& model, size_t node) {
  const std::string path = module_path(model.nodes().at(node).name);
  return path.empty() ? noted_module(proto_of(model.contents(), node)) : path;
}

namespace {

bool is_float_type(const ::onnx::TensorProto& t) {
  const auto dtype = dtype_of(t.data_type());
  return dtype && is_float(*dtype);
}

bool has_float_tensors(const ::onnx::GraphProto& graph);

// Whether the graphs of a node's own (branches, a loop's body), or those in them, have float tensors.
bool has_float_tensors_inside(const ::onnx::NodeProto& node) {
  return std::any_of(node.attribute().begin(), node.attribute().end(), [](const auto& a) {
    return (a.has_g() && has_float_tensors(a.g())) ||
           std::any_of(a.graphs().begin(), a.graphs().end(),
                       [](const auto& g) { return has_float_tensors(g); });
  });
}

// A Constant node that may be a parameter: a single number is a literal.
bool is_float_constant(const ::onnx::NodeProto& node) {
  return node.op_type() == "Constant" &&
         std::any_of(node.attribute().begin(), node.attribute().end(), [](const auto& a) {
           const auto& dims = a.t().dims();
           const bool single = std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d == 1; });
           return (a.has_t() && !single && is_float_type(a.t())) || a.floats_size() > 1 ||
                  (a.has_sparse_tensor() && is_float_type(a.sparse_tensor().values()));
         });
}

bool has_float_tensors(const ::onnx::GraphProto& graph) {
  return std::any_of(graph.initializer().begin(), graph.initializer().end(), is_float_type) ||
         std::any_of(graph.sparse_initializer().begin(), graph.sparse_initializer().end(),
                     [](const auto& t) { return is_float_type(t.values()); }) ||
         std::any_of(graph.node().begin(), graph.node().end(), [](const auto& node) {
           return is_float_constant(node) || has_float_tensors_inside(node);
         });
}

// A state dictionary has the tensors of the network's own graph that are dense. Refuses, by name, a file with
// others.
void refuse_tensors_left_out(const Model& model) {
  constexpr const char* kKeeps = "which would be missing among the network's; --to fp32-onnx keeps them";
  const ::onnx::ModelProto& proto = model.contents().proto;
  for (const auto& t : proto.graph().sparse_initializer())
    if (is_float_type(t.values()))
      throw input_error(
          "{}: initializer '{}' is sparse, and would be missing among the network's tensors; store it as a "
          "dense "
          "initializer, zeros included, or --to fp32-onnx keeps it",
          model.path(), t.values().name());
  for (const auto& node : proto.graph().node()) {
    if (has_float_tensors_inside(node))
      throw input_error("{}: node '{}' ({}) has tensors in a graph of its own, {}", model.path(), node.name(),
                        node.op_type(), kKeeps);
    for (const auto& a : node.attribute())
      if (a.has_sparse_tensor() && is_float_type(a.sparse_tensor().values()))
        throw input_error("{}: node '{}' ({}) has a sparse tensor, {}", model.path(), node.name(),
                          node.op_type(), kKeeps);
  }
  for (const auto& function : proto.functions())
    for (const auto& node : function.node())
      if (is_float_constant(node) || has_float_tensors_inside(node))
        throw input_error("{}: node '{}' ({}) of function '{}' has tensors, {}", model.path(), node.name(),
                          node.op_type(), function.name(), kKeeps);
}

struct FirstUse {
  size_t node;
  size_t input;
};
using FirstUses = std::map<std::string, FirstUse>;

FirstUses first_uses_of(const Model& model) {
  FirstUses first_use;
  for (size_t n = 0; n < model.nodes().size(); ++n)
    for (size_t i = 0; i < model.nodes()[n].inputs.size(); ++i)
      first_use.emplace(model.nodes()[n].inputs[i], FirstUse{n, i});
  return first_use;
}

// PyTorch's name of a tensor; that in the file where there is nothing to derive it from.
std::string derived_name(const Model& model, const std::string& tensor, const FirstUses& first_use) {
  if (tensor.ends_with(".weight_bias")) return tensor.substr(0, tensor.size() - 11) + "bias";
  const auto use = first_use.find(tensor);
  if (!is_made_up(tensor) || use == first_use.end()) return tensor;
  const NodeInfo& node = model.nodes()[use->second.node];
  const std::string path = module_of(model, use->second.node);
  const std::string_view role = role_of_input(node.op_type, use->second.input);
  return path.empty() || role.empty() ? tensor : path + "." + std::string(role);
}

}  // namespace

std::map<std::string, std::string> pytorch_names(const Model& model) {
  const FirstUses first_use = first_uses_of(model);
  std::set<std::string> taken;
  for (const TensorInfo& t : model.tensors()) taken.insert(t.name);
  std::map<std::string, std::string> out;
  for (const TensorInfo& t : model.tensors()) {
    if (!t.dtype || !is_float(*t.dtype)) continue;
    std::string name = derived_name(model, t.name, first_use);
    if (name != t.name && taken.insert(name).second) out.emplace(t.name, std::move(name));
  }
  return out;
}

std::vector<PytorchTensor> pytorch_tensors(const Model& model) {
  refuse_tensors_left_out(model);
  const std::map<std::string, Role> roles = tensor_roles(model);
  const FirstUses first_use = first_uses_of(model);

  std::vector<PytorchTensor> out;
  std::set<std::string> taken;
  for (const TensorInfo& t : model.tensors())
    if (roles.count(t.name) != 0) taken.insert(t.name);
  for (const TensorInfo& t : model.tensors()) {
    if (roles.count(t.name) == 0) continue;
    PytorchTensor p{t.name, derived_name(model, t.name, first_use), false, t.shape};
    const auto use = first_use.find(t.name);
    if (is_made_up(t.name) && use != first_use.end()) {
      const NodeInfo& node = model.nodes()[use->second.node];
      if (node.op_type == "MatMul" && use->second.input == 1 && t.shape.size() == 2) {
        p.transposed = true;
        p.shape = {t.shape[1], t.shape[0]};
      }
      if (node.op_type == "PRelu")
        while (p.shape.size() > 1 && p.shape.back() == 1) p.shape.pop_back();
    }
    if (p.name != t.name && !taken.insert(p.name).second) p.name = t.name;
    out.push_back(std::move(p));
  }
  // Where an exporter merged equal tensors, an Identity node has the name of the other.
  const Sharing sharing(model);
  for (size_t i = 0, own = out.size(); i < own; ++i)
    for (const std::string& alias : sharing.aliases(out[i].tensor))
      if (!is_made_up(alias) && alias.find('/') == std::string::npos && taken.insert(alias).second) {
        PytorchTensor p = out[i];
        p.name = alias;
        out.push_back(std::move(p));
      }
  return out;
}

}  // namespace halftone::onnx
