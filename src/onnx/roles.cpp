#include "onnx/roles.h"

#include <algorithm>
#include <array>
#include <set>

#include "ops/op.h"

namespace halftone::onnx {
namespace {

bool any_of_names(const std::string& name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}
// Nodes that pass elements on as they are: their gradient is theirs too.
bool is_view(const std::string& op) {
  return any_of_names(
      op, {"Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Expand"});
}
bool is_arithmetic(const std::string& op) {
  return any_of_names(op, {"Add", "Sub", "Mul", "Div"});
}

class Roles {
 public:
  explicit Roles(const Model& model) : model_(model) {
    for (size_t i = 0; i < model.nodes().size(); ++i)
      for (const std::string& name : model.nodes()[i].outputs)
        if (!name.empty()) producer_.emplace(name, i);
    for (const TensorInfo& t : model.tensors()) constant_.insert(t.name);
  }

  std::map<std::string, Role> find() {
    for (const NodeInfo& node : model_.nodes()) {
      if (node.op_type == "Constant" || !node.domain.empty()) continue;
      const ops::OnnxOp* op = ops::find_onnx(node.op_type);
      for (size_t i = 0; op != nullptr && i < node.inputs.size() && i < 32; ++i)
        if (((op->trained_inputs >> i) & 1U) != 0 && is_constant(node.inputs[i])) train_slot(node.inputs[i]);
      if (node.op_type == "BatchNormalization")
        for (size_t i = 3; i < node.inputs.size() && i < 5; ++i) keep_state(node.inputs[i]);
      if (is_arithmetic(node.op_type) && node.inputs.size() == 2)
        for (const size_t i : {0, 1})
          if (is_constant(node.inputs[i]) && depends(node.inputs[1 - i])) train_operand(node.inputs[i]);
      const bool constant = !node.inputs.empty() &&
                            std::all_of(node.inputs.begin(), node.inputs.end(),
                                        [&](const auto& name) { return name.empty() || is_constant(name); });
      const bool dependent = std::any_of(node.inputs.begin(), node.inputs.end(),
                                         [&](const auto& name) { return depends(name); });
      for (const std::string& name : node.outputs) {
        if (constant) constant_.insert(name);
        if (dependent) dependent_.insert(name);
      }
    }
    return std::move(roles_);
  }

 private:
  bool is_constant(const std::string& name) const { return constant_.count(name) != 0; }
  bool depends(const std::string& name) const {
    const auto it = roles_.find(name);
    return dependent_.count(name) != 0 || (it != roles_.end() && it->second == Role::kParameter);
  }
  bool is_float_tensor(const std::string& name) const {
    const TensorInfo* info = model_.find_tensor(name);
    return info != nullptr && info->dtype && is_float(*info->dtype);
  }

  void train(const std::string& tensor, bool any_size) {
    if (is_float_tensor(tensor) && (any_size || elements(model_.find_tensor(tensor)->shape) > 1))
      roles_.emplace(tensor, Role::kParameter);
  }

  // All tensors that the slot's value is computed from.
  void train_slot(const std::string& slot) {
    std::set<std::pair<std::string, bool>> seen;
    std::vector<std::pair<std::string, bool>> open{{slot, true}};  // name, reached through views only
    while (!open.empty()) {
      auto [name, views] = open.back();
      open.pop_back();
      if (!seen.emplace(name, views).second) continue;
      if (model_.find_tensor(name) != nullptr) {
        train(name, views);
        continue;
      }
      const auto it = producer_.find(name);
      if (it == producer_.end()) continue;
      const NodeInfo& node = model_.nodes()[it->second];
      const ops::OnnxOp* op = ops::find_onnx(node.op_type);
      if (op == nullptr || op->import == nullptr) continue;  // shape arithmetic
      dependent_.insert(name);
      for (const std::string& input : node.inputs) open.emplace_back(input, views && is_view(node.op_type));
    }
  }

  void train_operand(std::string name) {
    for (auto it = producer_.find(name); model_.find_tensor(name) == nullptr && it != producer_.end();
         it = producer_.find(name)) {
      const NodeInfo& node = model_.nodes()[it->second];
      if (!is_view(node.op_type) || node.inputs.empty()) return;
      name = node.inputs[0];
    }
    train(name, false);
  }

  void keep_state(std::string name) {
    for (auto it = producer_.find(name); model_.find_tensor(name) == nullptr && it != producer_.end();
         it = producer_.find(name)) {
      const NodeInfo& node = model_.nodes()[it->second];
      if (node.op_type != "Identity" || node.inputs.empty()) return;
      name = node.inputs[0];
    }
    if (is_float_tensor(name)) roles_.insert_or_assign(name, Role::kState);
  }

  const Model& model_;
  std::map<std::string, size_t> producer_;
  std::set<std::string> constant_;   // computed from tensors alone
  std::set<std::string> dependent_;  // computed from a parameter
  std::map<std::string, Role> roles_;
};

}  // namespace

std::map<std::string, Role> tensor_roles(const Model& model) {
  return Roles(model).find();
}

}  // namespace halftone::onnx
