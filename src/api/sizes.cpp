#include "api/sizes.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "onnx/input_axes.h"

namespace halftone::api {
namespace {

const data::Field* field_named(const std::vector<data::Field>& fields, const std::string& name) {
  for (const data::FieldRole role : {data::FieldRole::kInput, data::FieldRole::kTarget})
    for (const data::Field& field : fields)
      if (field.name == name && field.role == role) return &field;
  return nullptr;
}

// The sizes of an input's open axes, by those of a sample.
void add_axes(const onnx::Model& model, size_t index, const data::Field& field, const std::string& where,
              Sizes::Axes& axes) {
  const onnx::ValueInfo& input = model.inputs()[index];
  const auto refuse = [&](const std::string& why) {
    throw input_error("{}: the field {} has samples of shape {}, but input '{}' {}", where, field.name,
                      to_string(field.shape), input.name, why);
  };
  if (input.dims.size() != field.shape.size() + 1)
    refuse(fmt::format("takes {} axes a sample", input.dims.size() - 1));
  for (size_t axis = 1; axis < input.dims.size(); ++axis) {
    const int64_t size = field.shape[axis - 1];
    const int64_t fixed = input.dims[axis].value;
    if (fixed > 0) {
      if (fixed != size) refuse(fmt::format("has the size {} at axis {}", fixed, axis));
      continue;
    }
    if (onnx::is_batch(model, index, axis)) continue;
    const std::string name = onnx::axis_name(input, axis);
    const auto [known, added] = axes.emplace(name, size);
    if (!added && known->second != size)
      refuse(fmt::format("has the size {} = {} at axis {}, by another field", name, known->second, axis));
  }
}

}  // namespace

Sizes::Sizes(onnx::Model network, std::optional<onnx::Model> loss_graph)
    : network_(std::move(network)), loss_graph_(std::move(loss_graph)) {}

size_t Sizes::add(const data::DataInfo& info, const FieldPlan& plan, const std::string& where,
                  bool inputs_alone) {
  const std::vector<data::Field> fields = info.fields();
  Class sizes;
  for (size_t i = 0; i < network_.inputs().size(); ++i) {
    const auto fed = plan.feeding.find(network_.inputs()[i].name);
    const data::Field* field = fed == plan.feeding.end() ? &fields.at(0) : field_named(fields, fed->second);
    HT_ASSERT(field != nullptr, "{}", network_.inputs()[i].name);
    data::Field row = *field;
    if (info.texts > 1) row.shape.erase(row.shape.begin());
    add_axes(network_, i, row, where, sizes.network);
  }
  if (loss_graph_ && !inputs_alone) {
    for (size_t i = 0; i < loss_graph_->inputs().size(); ++i) {
      const auto fed = plan.feeding.find(loss_graph_->inputs()[i].name);
      const bool of_network = std::any_of(
          network_.inputs().begin(), network_.inputs().end(),
          [&](const onnx::ValueInfo& input) { return input.name == loss_graph_->inputs()[i].name; });
      if (fed == plan.feeding.end() || of_network) continue;
      const data::Field* field = field_named(fields, fed->second);
      HT_ASSERT(field != nullptr, "{}", fed->second);
      add_axes(*loss_graph_, i, *field, where, sizes.loss_graph);
    }
  }
  const auto known = std::find_if(classes_.begin(), classes_.end(), [&](const Class& other) {
    return inputs_alone ? other.network == sizes.network : other == sizes;
  });
  if (known != classes_.end()) return static_cast<size_t>(known - classes_.begin());
  classes_.push_back(std::move(sizes));
  return classes_.size() - 1;
}

onnx::Model Sizes::at(const onnx::Model& model, size_t number) const {
  onnx::Model sized = model;
  sized.rebind(classes_.at(number).network);
  return sized;
}

onnx::Model Sizes::loss_graph_at(size_t number) const {
  HT_ASSERT(loss_graph_.has_value());
  onnx::Model sized = *loss_graph_;
  sized.rebind(classes_.at(number).loss_graph);
  return sized;
}

std::string Sizes::describe(size_t number) const {
  std::string text;
  const Class& sizes = classes_.at(number);
  for (const Axes* axes : {&sizes.network, &sizes.loss_graph})
    for (const auto& [name, size] : *axes) {
      if (axes == &sizes.loss_graph && sizes.network.count(name) != 0) continue;
      text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", name, size);
    }
  return text;
}

}  // namespace halftone::api
