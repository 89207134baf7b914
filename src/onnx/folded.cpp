#include "onnx/folded.h"

#include <map>
#include <set>

namespace halftone::onnx {

std::vector<FoldedConvolution> folded_convolutions(const Model& model) {
  std::map<std::string, int> uses;
  std::set<std::string> normalised;
  for (const NodeInfo& node : model.nodes()) {
    for (const std::string& name : node.inputs) ++uses[name];
    if (node.op_type == "BatchNormalization" && !node.inputs.empty()) normalised.insert(node.inputs[0]);
  }
  const auto own_tensor = [&](const std::string& name) {
    const TensorInfo* info = model.find_tensor(name);
    return info != nullptr && info->dtype && is_float(*info->dtype) && uses[name] == 1;
  };
  std::vector<FoldedConvolution> out;
  for (const NodeInfo& node : model.nodes()) {
    if (node.op_type != "Conv" || !node.domain.empty() || node.inputs.size() != 3 || node.outputs.size() != 1)
      continue;
    if (!own_tensor(node.inputs[1]) || !own_tensor(node.inputs[2]) || normalised.count(node.outputs[0]) != 0)
      continue;
    out.push_back({node.name, node.inputs[1], node.inputs[2], node.outputs[0]});
  }
  return out;
}

}  // namespace halftone::onnx
