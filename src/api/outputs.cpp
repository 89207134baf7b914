#include "api/outputs.h"

#include <algorithm>
#include <map>
#include <set>

#include "api/losses.h"
#include "base/error.h"
#include "onnx/roles.h"

namespace halftone::api {
namespace {

// Outputs of floats, or of a type that the file does not say.
bool may_be_trained(const onnx::ValueInfo& output) {
  return output.type == "?" || (output.dtype && is_float(*output.dtype));
}

std::string list_of(const onnx::Model& model) {
  std::string text;
  for (const onnx::ValueInfo& output : model.outputs()) {
    text += fmt::format("{}'{}' ({}", text.empty() ? "" : ", ", output.name, output.type);
    if (output.has_shape) {
      text += " ";
      for (size_t i = 0; i < output.dims.size(); ++i) {
        const onnx::Dimension& d = output.dims[i];
        text += (i == 0 ? "" : "x") + (d.value >= 0      ? std::to_string(d.value)
                                       : d.param.empty() ? "?"
                                                         : d.param);
      }
    }
    text += ")";
  }
  return text;
}

// All names that `outputs` depend on.
std::set<std::string> dependencies(const onnx::Model& model, const std::vector<std::string>& outputs) {
  std::map<std::string, size_t> producer;
  for (size_t i = 0; i < model.nodes().size(); ++i)
    for (const std::string& name : model.nodes()[i].outputs) producer.emplace(name, i);
  std::set<std::string> seen;
  std::vector<std::string> open = outputs;
  while (!open.empty()) {
    const std::string name = open.back();
    open.pop_back();
    if (name.empty() || !seen.insert(name).second) continue;
    const auto it = producer.find(name);
    if (it == producer.end()) continue;
    const std::vector<std::string>& inputs = model.nodes()[it->second].inputs;
    open.insert(open.end(), inputs.begin(), inputs.end());
  }
  return seen;
}

}  // namespace

std::string output_of(const onnx::Model& model, const std::string& asked, const std::string& option) {
  if (!asked.empty()) {
    const auto& nodes = model.nodes();
    const bool there = std::any_of(nodes.begin(), nodes.end(), [&](const onnx::NodeInfo& n) {
      return std::find(n.outputs.begin(), n.outputs.end(), asked) != n.outputs.end();
    });
    if (!there)
      throw usage_error("{}: {} has no tensor of that name; its outputs are {}", option, model.path(),
                        list_of(model));
    return asked;
  }
  for (const onnx::ValueInfo& output : model.outputs())
    if (may_be_trained(output)) return output.name;
  throw input_error(
      "{}: none of its outputs can be trained: {}; whole numbers, such as ArgMax gives, have no gradient\n  "
      "(--output "
      "NAME takes a tensor inside the network, such as what that node reads)",
      model.path(), list_of(model));
}

onnx::Model with_outputs(const onnx::Model& model, const std::vector<std::string>& names) {
  const onnx::Model chosen = model.with_outputs(names);
  return chosen.inputs().size() > 1 ? chosen.with_batch_in_front() : chosen;
}

onnx::Model choose_output(const onnx::Model& model, const NetworkOptions& options, const Log& log) {
  const std::vector<std::string> used = outputs_of(model, options).names;
  if (const std::string others = other_outputs(model, used); !others.empty()) log(others);
  return with_outputs(model, used);
}

std::string other_outputs(const onnx::Model& model, const std::vector<std::string>& used) {
  const auto is_used = [&](const onnx::ValueInfo& output) {
    return std::find(used.begin(), used.end(), output.name) != used.end();
  };
  if (model.outputs().size() == used.size() &&
      std::all_of(model.outputs().begin(), model.outputs().end(), is_used))
    return {};
  std::string names;
  for (const std::string& name : used) names += fmt::format("{}'{}'", names.empty() ? "" : ", ", name);
  return fmt::format("output: {} {} used, of the network's {} ({} chooses)", names,
                     used.size() == 1 ? "is" : "are", list_of(model),
                     used.size() == 1 ? "--output NAME" : "--loss OUTPUT=KIND");
}

std::vector<std::string> parameters_of_others(const onnx::Model& model,
                                              const std::vector<std::string>& used) {
  std::vector<std::string> not_used;
  for (const onnx::ValueInfo& output : model.outputs())
    if (std::find(used.begin(), used.end(), output.name) == used.end()) not_used.push_back(output.name);
  const std::set<std::string> others = dependencies(model, not_used);
  const std::set<std::string> needed = dependencies(model, used);
  std::vector<std::string> names;
  for (const auto& [name, role] : onnx::tensor_roles(model))
    if (role == onnx::Role::kParameter && others.count(name) != 0 && needed.count(name) == 0)
      names.push_back(name);
  return names;
}

}  // namespace halftone::api
