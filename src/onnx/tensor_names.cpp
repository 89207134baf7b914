#include "onnx/tensor_names.h"

#include <algorithm>

#include "base/error.h"
#include "onnx/model_contents.h"
#include "onnx/pytorch_names.h"

namespace halftone::onnx {

TensorNames::TensorNames(const Model& model) {
  std::map<std::string, std::string> tensor_of;  // of a value
  for (const TensorInfo& t : model.tensors()) {
    tensor_of.emplace(t.name, t.name);
    std::vector<std::string>& names = names_[t.name];
    names.push_back(t.name);
    const auto origins = model.contents().origins.find(t.name);
    if (origins == model.contents().origins.end()) continue;
    for (const std::string& name : origins->second)
      if (name != t.name) names.push_back(name);
    own_names_.emplace(t.name, std::vector<std::string>(names.begin(), names.end() - 1));
  }
  for (const NodeInfo& node : model.nodes()) {
    if (node.op_type != "Identity" || !node.domain.empty() || node.inputs.size() != 1 ||
        node.outputs.size() != 1)
      continue;
    const auto it = tensor_of.find(node.inputs[0]);
    if (it == tensor_of.end()) continue;
    const std::string tensor = it->second;
    if (tensor_of.emplace(node.outputs[0], tensor).second) names_.at(tensor).push_back(node.outputs[0]);
  }
  pytorch_ = pytorch_names(model);
  for (const auto& [tensor, name] : pytorch_) {
    std::vector<std::string>& names = names_.at(tensor);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
}

const std::vector<std::string>& TensorNames::of(const std::string& tensor) const {
  const auto it = names_.find(tensor);
  HT_ASSERT(it != names_.end(), "{}", tensor);
  return it->second;
}

Choice TensorNames::choice(const std::string& tensor, const TrainFreeze& patterns, bool pytorch) const {
  const auto own = own_names_.find(tensor);
  if (own != own_names_.end() && patterns.of(own->second) == Choice::kFreeze) return Choice::kFreeze;
  std::vector<std::string> names = of(tensor);
  if (const auto it = pytorch_.find(tensor); !pytorch && it != pytorch_.end() && names.back() == it->second)
    names.pop_back();
  return patterns.of(names);
}

std::string TensorNames::matching(const std::string& tensor, const std::string& pattern) const {
  const std::vector<std::string>& names = of(tensor);
  const auto it =
      std::find_if(names.begin(), names.end(), [&](const auto& name) { return matches(name, pattern); });
  return it == names.end() ? "" : *it;
}

}  // namespace halftone::onnx
