#include "onnx/input_axes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "base/words.h"

namespace halftone::onnx {
namespace {

// Operators whose first input is [N, C, ...].
constexpr std::array<std::string_view, 13> kChannelsFirst = {
    "Conv",        "ConvTranspose",         "ConvInteger", "QLinearConv",   "MaxPool",
    "AveragePool", "GlobalAveragePool",     "LpPool",      "GlobalMaxPool", "BatchNormalization",
    "LRN",         "InstanceNormalization", "SpaceToDepth"};

// Operators whose output has the axes of their input.
constexpr std::array<std::string_view, 19> kSameAxes = {
    "Identity", "Cast", "Add", "Sub", "Mul",    "Div", "Neg", "Abs",   "Clip",   "Relu",
    "Sqrt",     "Pow",  "Exp", "Pad", "Resize", "Max", "Min", "Slice", "Dropout"};

}  // namespace

bool is_batch(const Model& model, size_t input, size_t axis) {
  const std::vector<ValueInfo>& inputs = model.inputs();
  if (input == 0 && axis == 0) return true;
  if (inputs[0].dims.empty()) return false;
  const std::string& batch = inputs[0].dims[0].param;
  return !batch.empty() && inputs[input].dims[axis].value <= 0 && inputs[input].dims[axis].param == batch;
}

std::string axis_name(const ValueInfo& input, size_t axis) {
  const std::string& param = input.dims[axis].param;
  return param.empty() ? fmt::format("{}:{}", input.name, axis) : param;
}

std::vector<std::string> open_axes(const Model& model) {
  std::vector<std::string> names;
  for (size_t i = 0; i < model.inputs().size(); ++i) {
    const ValueInfo& input = model.inputs()[i];
    for (size_t axis = 0; axis < input.dims.size(); ++axis) {
      if (input.dims[axis].value > 0 || is_batch(model, i, axis)) continue;
      const std::string name = axis_name(input, axis);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  const std::vector<ValueInfo>& inputs = model.inputs();
  const std::string batch = inputs.empty() || inputs[0].dims.empty() ? "" : inputs[0].dims[0].param;
  for (const FixedInput& input : model.fixed())
    for (size_t axis = 0; axis < input.info.dims.size(); ++axis) {
      const std::string name = axis_name(input.info, axis);
      const bool open = input.info.dims[axis].value <= 0 && name != batch;
      if (open && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  return names;
}

std::optional<ChannelAxis> channel_axis(const Model& model) {
  if (model.inputs().empty() || model.inputs()[0].dims.size() != 4) return std::nullopt;
  std::set<std::string> same = {model.inputs()[0].name};  // values with the input's axes
  bool first = false;
  bool last = false;
  // Nodes follow those they read from.
  for (size_t i = 0; i < model.nodes().size(); ++i) {
    const NodeInfo& node = model.nodes()[i];
    const bool reads = std::any_of(node.inputs.begin(), node.inputs.end(),
                                   [&](const std::string& name) { return same.count(name) > 0; });
    if (!reads || !node.domain.empty()) continue;
    if (node.op_type == "Transpose") {
      const std::vector<int64_t> perm = model.attributes(i).ints_or("perm", {});
      last = last || perm == std::vector<int64_t>{0, 3, 1, 2};
      first = first || perm == std::vector<int64_t>{0, 2, 3, 1};
    } else if (is_one_of(node.op_type, kChannelsFirst)) {
      first = first || (!node.inputs.empty() && same.count(node.inputs[0]) > 0);
    } else if (is_one_of(node.op_type, kSameAxes) && !node.outputs.empty()) {
      same.insert(node.outputs[0]);
    }
  }
  if (first == last) return std::nullopt;
  return first ? ChannelAxis::kFirst : ChannelAxis::kLast;
}

}  // namespace halftone::onnx
