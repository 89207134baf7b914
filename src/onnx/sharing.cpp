#include "onnx/sharing.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "base/words.h"
#include "onnx/pytorch_names.h"
#include "onnx/tensor_names.h"

namespace halftone::onnx {
namespace {

// Nodes that pass on the elements of their first input.
bool is_view(const NodeInfo& node) {
  return node.domain.empty() && !node.inputs.empty() && node.outputs.size() == 1 &&
         is_one_of(node.op_type,
                   {"Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Cast"});
}

// Not one of a branch that may not be taken: its statistics stay as they are.
bool is_batch_norm(const NodeInfo& node) {
  return node.domain.empty() && node.op_type == "BatchNormalization" && node.guards.empty();
}

// Those that an output of the network depends on.
std::vector<bool> needed_nodes(const Model& model) {
  std::map<std::string, size_t> producer;
  for (size_t i = 0; i < model.nodes().size(); ++i)
    for (const std::string& name : model.nodes()[i].outputs) producer.emplace(name, i);
  std::vector<bool> needed(model.nodes().size(), false);
  std::vector<std::string> open;
  for (const ValueInfo& output : model.outputs()) open.push_back(output.name);
  while (!open.empty()) {
    const auto it = producer.find(open.back());
    open.pop_back();
    if (it == producer.end() || needed[it->second]) continue;
    needed[it->second] = true;
    const std::vector<std::string>& inputs = model.nodes()[it->second].inputs;
    open.insert(open.end(), inputs.begin(), inputs.end());
  }
  return needed;
}

// Finds names for tensors that a model gains.
class Names {
 public:
  explicit Names(const Model& model) {
    for (const auto& input : model.inputs()) taken_.insert(input.name);
    for (const auto& tensor : model.tensors()) taken_.insert(tensor.name);
    for (const NodeInfo& node : model.nodes()) {
      taken_.insert(node.outputs.begin(), node.outputs.end());
      for (const std::string& name : node.inputs) ++readers_[name];
    }
    for (const auto& output : model.outputs()) ++readers_[output.name];
  }

  // The first of `wanted` that is free, else the tensor's name with a number. Where the reader sees the
  // tensor under a name of its own (exporters put an Identity node there when they merge equal tensors), that
  // name.
  std::string find(const Use& use, const std::string& tensor, const std::vector<std::string>& wanted) {
    if (use.value != tensor && readers_.at(use.value) == 1) return use.value;
    for (const std::string& name : wanted)
      if (taken_.insert(name).second) return name;
    for (int i = 2;; ++i) {
      std::string name = fmt::format("{}_{}", tensor, i);
      if (taken_.insert(name).second) return name;
    }
  }

 private:
  std::set<std::string> taken_;
  std::map<std::string, int> readers_;
};

// A norm's tensors are called after its module: "layer1.0.bn1" of "layer1.0.bn1.weight".
std::vector<std::string> modules_of(const NodeInfo& norm) {
  std::vector<std::string> out;
  for (const auto& [input, end] : {std::pair<size_t, std::string>{1, ".weight"}, {2, ".bias"}})
    if (input < norm.inputs.size() && norm.inputs[input].size() > end.size() &&
        norm.inputs[input].ends_with(end))
      out.push_back(norm.inputs[input].substr(0, norm.inputs[input].size() - end.size()));
  const std::string path = module_path(norm.name);
  if (!path.empty()) out.push_back(path);
  return out;
}

std::vector<std::string> statistic_names(const NodeInfo& norm, UseKind kind) {
  std::vector<std::string> names = modules_of(norm);
  for (std::string& name : names) name += kind == UseKind::kMean ? ".running_mean" : ".running_var";
  return names;
}

std::string reader_of(const Use& use, const Model& model) {
  if (use.kind == UseKind::kOutput) return fmt::format("the network's output '{}'", use.value);
  const NodeInfo& node = model.nodes()[use.node];
  return fmt::format("{} '{}' ({})", node.op_type, node.name, input_name(node.op_type, use.input));
}

bool is_float_tensor(const TensorInfo& t) {
  return t.dtype && is_float(*t.dtype);
}

}  // namespace

std::string input_name(std::string_view op, size_t input) {
  if (op == "BatchNormalization") {
    constexpr std::string_view kNames[] = {"input", "scale", "shift", "running mean", "running variance"};
    if (input < 5) return std::string(kNames[input]);
  }
  if (is_one_of(op, {"Conv", "ConvTranspose", "Gemm", "InstanceNormalization", "LayerNormalization",
                     "GroupNormalization", "RMSNormalization"}) &&
      (input == 1 || input == 2))
    return input == 1 ? "weight" : "bias";
  return fmt::format("input {}", input);
}

Sharing::Sharing(const Model& model) {
  struct Behind {
    std::string tensor;
    bool direct, same_elements;
  };
  std::map<std::string, Behind> behind;  // values that are a tensor of the file, perhaps under another shape
  for (const TensorInfo& t : model.tensors()) behind.emplace(t.name, Behind{t.name, true, true});
  const std::vector<bool> needed = needed_nodes(model);
  for (size_t n = 0; n < model.nodes().size(); ++n) {
    const NodeInfo& node = model.nodes()[n];
    if (!needed[n] || node.op_type == "Constant") continue;
    const bool view = is_view(node) && behind.count(node.inputs[0]) != 0;
    if (view) {
      const Behind& from = behind.at(node.inputs[0]);
      const bool identity = node.op_type == "Identity";
      const Behind to{from.tensor, from.direct && identity,
                      from.same_elements && (identity || node.op_type == "Cast")};
      behind.emplace(node.outputs[0], to);
      if (to.direct) aliases_[to.tensor].push_back(node.outputs[0]);
    }
    for (size_t i = view ? 1 : 0; i < node.inputs.size(); ++i) {
      const auto it = behind.find(node.inputs[i]);
      if (it == behind.end()) continue;
      const UseKind kind = !is_batch_norm(node) || i < 3 ? UseKind::kOperand
                           : i == 3                      ? UseKind::kMean
                                                         : UseKind::kVariance;
      uses_[it->second.tensor].push_back(
          {kind, n, i, node.inputs[i], it->second.direct, it->second.same_elements});
    }
  }
  for (const ValueInfo& output : model.outputs()) {
    const auto it = behind.find(output.name);
    if (it != behind.end())
      uses_[it->second.tensor].push_back(
          {UseKind::kOutput, 0, 0, output.name, it->second.direct, it->second.same_elements});
  }
}

const std::vector<Use>& Sharing::uses(const std::string& tensor) const {
  static const std::vector<Use> kNone;
  const auto it = uses_.find(tensor);
  return it == uses_.end() ? kNone : it->second;
}

const std::vector<std::string>& Sharing::aliases(const std::string& tensor) const {
  static const std::vector<std::string> kNone;
  const auto it = aliases_.find(tensor);
  return it == aliases_.end() ? kNone : it->second;
}

std::string Sharing::readers(const std::string& tensor, const Model& model) const {
  constexpr size_t kNamed = 3;
  const std::vector<Use>& all = uses(tensor);
  std::string text;
  for (size_t i = 0; i < all.size() && i < kNamed; ++i)
    text += (i == 0 ? "" : ", ") + reader_of(all[i], model);
  if (all.size() > kNamed) text += fmt::format(" and {} more", all.size() - kNamed);
  return text;
}

Model with_own_statistics(const Model& model, bool every_norm, std::vector<std::string>* notes) {
  const Sharing sharing(model);
  Names names(model);
  std::vector<Separation> separations;
  for (const TensorInfo& t : model.tensors()) {
    const std::vector<Use>& uses = sharing.uses(t.name);
    std::vector<const Use*> statistics;
    for (const Use& use : uses)
      if (use.is_statistic() && use.direct) statistics.push_back(&use);
    if (statistics.empty() || uses.size() == 1) continue;
    if (statistics.size() == uses.size()) {
      if (!every_norm) continue;
      // One keeps the tensor: that which it is called after, else the first.
      const auto owner = std::find_if(statistics.begin(), statistics.end(), [&](const Use* use) {
        const std::vector<std::string> own = statistic_names(model.nodes()[use->node], use->kind);
        return use->value == t.name && std::find(own.begin(), own.end(), t.name) != own.end();
      });
      statistics.erase(owner == statistics.end() ? statistics.begin() : owner);
    }
    std::string made;
    for (const Use* use : statistics) {
      const std::string name = names.find(*use, t.name, statistic_names(model.nodes()[use->node], use->kind));
      separations.push_back({use->node, use->input, t.name, name});
      made += fmt::format("{}'{}'", made.empty() ? "" : ", ", name);
    }
    if (notes != nullptr)
      notes->push_back(fmt::format("'{}' is read by {}: running statistics get tensors of their own, {}",
                                   t.name, sharing.readers(t.name, model), made));
  }
  return separations.empty() ? model : model.separated(separations);
}

Model with_own_biases(const Model& model, const std::set<std::string>& convolutions,
                      std::vector<std::string>* notes) {
  const Sharing sharing(model);
  Names names(model);
  std::vector<Separation> separations;
  for (const TensorInfo& t : model.tensors()) {
    const std::vector<Use>& uses = sharing.uses(t.name);
    if (uses.size() < 2) continue;
    std::vector<const Use*> biases;
    for (const Use& use : uses)
      if (use.kind == UseKind::kOperand && use.input == 2 && use.direct &&
          model.nodes()[use.node].op_type == "Conv" && convolutions.count(model.nodes()[use.node].name) != 0)
        biases.push_back(&use);
    if (biases.size() == uses.size()) biases.erase(biases.begin());
    std::string made;
    for (const Use* use : biases) {
      const std::string name = names.find(*use, t.name, {model.nodes()[use->node].inputs[1] + "_bias"});
      separations.push_back({use->node, use->input, t.name, name});
      made += fmt::format("{}'{}'", made.empty() ? "" : ", ", name);
    }
    if (!made.empty() && notes != nullptr)
      notes->push_back(fmt::format("'{}' is read by {}: folded batch norms get biases of their own, {}",
                                   t.name, sharing.readers(t.name, model), made));
  }
  return separations.empty() ? model : model.separated(separations);
}

bool can_restore(const Model& model, const Sharing& sharing, const std::string& convolution) {
  const NodeInfo* node = nullptr;
  size_t index = 0;
  for (size_t n = 0; n < model.nodes().size(); ++n) {
    if (model.nodes()[n].name != convolution) continue;
    if (node != nullptr) return false;
    node = &model.nodes()[n];
    index = n;
  }
  if (node == nullptr || node->op_type != "Conv") return false;
  bool weight = false;
  bool bias = false;
  for (const TensorInfo& t : model.tensors()) {
    const std::vector<Use>& uses = sharing.uses(t.name);
    for (const Use& use : uses) {
      if (use.kind != UseKind::kOperand || use.node != index) continue;
      const bool alone = uses.size() == 1 && use.same_elements;
      weight = weight || (use.input == 1 && alone);
      bias = bias || (use.input == 2 && (alone || use.direct));
    }
  }
  return weight && bias;
}

Frozen frozen_by(const Model& model, const Sharing& sharing, const TrainFreeze& choice) {
  Frozen frozen;
  const TensorNames names(model);
  for (const TensorInfo& t : model.tensors())
    if (is_float_tensor(t) && names.choice(t.name, choice) == Choice::kFreeze) frozen.tensors.insert(t.name);
  for (const std::string& tensor : frozen.tensors)
    for (const Use& use : sharing.uses(tensor))
      if (use.kind != UseKind::kOutput && use.input >= 1 && is_batch_norm(model.nodes()[use.node]))
        frozen.norms.insert(use.node);
  return frozen;
}

}  // namespace halftone::onnx
