// One node: checked, folded, or translated into nodes of the graph.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/resource_error.h"
#include "onnx/importer.h"
#include "onnx/input_counts.h"
#include "onnx/missing_operators.h"
#include "onnx/operator_of.h"
#include "onnx/output_shape.h"
#include "onnx/required_inputs.h"
#include "ops/run_constants.h"

namespace halftone::onnx {

namespace {

using ir::kNone;
using ir::ValueId;
using ir::ValueKind;

}  // namespace

bool Importer::stand_in(const NodeInfo& n, size_t k) {
  std::vector<std::optional<ir::Type>> inputs;
  bool live = false;  // computed from samples: constants would have to be known by their elements
  for (const std::string& name : n.inputs) {
    inputs.emplace_back();
    if (name.empty() || failed_.count(name) != 0) continue;
    try {
      inputs.back() = graph_.value(value(name)).type;
      live = live || !is_constant(name);
    } catch (const Error& e) {
      rethrow_if_resource(e);
      continue;
    }
  }
  if (!live) return false;
  const std::optional<ir::Type> type = output_type_of(n, k, inputs, options_.storage);
  if (!type) return false;
  ir::Value v;
  v.name = n.outputs[k];
  v.kind = ValueKind::kActivation;
  v.type = *type;
  values_[n.outputs[k]] = graph_.add_value(std::move(v));
  return true;
}

bool Importer::check_operator(const NodeInfo& n) {
  const ops::OnnxOp* op = ops::find_onnx(operator_of(n));
  const StructuralOp* structural = structural_of(n);
  if (op == nullptr &&
      structural == nullptr) {  // of the file's own nodes, foreign domains are problems already
    problem(n.name, n.op_type, reason_of_missing(n.op_type, n.domain));
    return false;
  }
  const int since = op != nullptr ? op->since : structural->since;
  const int until = op != nullptr ? op->until : structural->until;
  if (n.opset < since || n.opset > until) {
    problem(n.name, n.op_type, fmt::format("Halftone knows this operator from opset {} to {}", since, until));
    return false;
  }
  // What no opset gives a meaning would be ignored.
  size_t given = structural != nullptr ? n.declared_inputs : n.inputs.size();
  if (n.choice) given = 1;  // the others are its branches' results
  while (given > 0 && n.inputs[given - 1].empty()) --given;
  if (const std::optional<size_t> most = most_inputs(operator_of(n), n.opset); most && given > *most) {
    problem(n.name, n.op_type, fmt::format("it has {} inputs, the operator takes at most {}", given, *most));
    return false;
  }
  return true;
}

void Importer::translate_structure(const NodeInfo& n, const Place& at) {
  if (n.outputs.empty()) throw input_error("it has no outputs");
  const auto before = static_cast<ValueId>(graph_.values.size());
  structure_.translate(n, at);
  for (const std::string& name : n.outputs) {
    const auto it = values_.find(name);
    if (it == values_.end() || it->second < before) continue;
    ir::Value& v = graph_.value(it->second);
    if (v.kind == ValueKind::kActivation) v.name = name;
  }
}

void Importer::choose(const NodeInfo& n) {
  if (!is_constant(n.inputs[0])) {
    for (size_t k = 0; k < n.outputs.size(); ++k) choose_while_running(n, k);
    return;
  }
  const size_t first = truth_of(n.inputs[0]) ? 1 : 1 + n.outputs.size();
  for (size_t k = 0; k < n.outputs.size(); ++k) {
    const std::string& from = n.inputs[first + k];
    if (n.outputs[k].empty()) continue;
    if (structure_.rename(n.outputs[k], from)) continue;
    rename(n.outputs[k], from);
    const auto it = values_.find(n.outputs[k]);
    if (it != values_.end() && graph_.value(it->second).kind == ValueKind::kActivation)
      graph_.value(it->second).name = n.outputs[k];
  }
}

void Importer::choose_while_running(const NodeInfo& n, size_t k) {
  if (n.outputs[k].empty()) return;
  const std::string& then = n.inputs[1 + k];
  const std::string& otherwise = n.inputs[1 + n.outputs.size() + k];
  if (failed_.count(then) != 0 || failed_.count(otherwise) != 0) {
    failed_.insert(n.outputs[k]);
    return;
  }
  if (structure_.is_sequence(then) || structure_.is_sequence(otherwise))
    throw input_error(
        "its condition '{}' depends on the samples or on trained tensors, and its branches give sequences "
        "of tensors; "
        "only tensors of one shape can be chosen while the network runs",
        n.inputs[0]);
  const ValueId condition = value(n.inputs[0]);
  const ir::Type asked = builder_.type(condition);
  if (asked.dtype != DType::kU8 || elements(asked.shape) != 1)
    throw input_error("its condition must be one bool, got {} {}", name_of(asked.dtype),
                      to_string(asked.shape));
  const ValueId results[2] = {value(then), value(otherwise)};
  const ir::Type types[2] = {builder_.type(results[0]), builder_.type(results[1])};
  if (types[0] != types[1])
    throw input_error(
        "its condition '{}' depends on the samples or on trained tensors, and its branches give {} {} and "
        "{} {}: Halftone "
        "compiles networks whose shapes are always the same",
        n.inputs[0], name_of(types[0].dtype), to_string(types[0].shape), name_of(types[1].dtype),
        to_string(types[1].shape));
  builder_.set_origin(n.name);
  const ValueId chosen = builder_.add1("Where", {builder_.reshape(condition, {}), results[0], results[1]});
  values_[n.outputs[k]] = chosen;
  graph_.value(chosen).name = n.outputs[k];
}

void Importer::translate(const NodeInfo& n, const Place& at) {
  if (n.choice) {
    choose(n);
    return;
  }
  if (structural_of(n) != nullptr) {
    translate_structure(n, at);
    return;
  }
  if (n.op_type == "Identity" && !n.inputs.empty() && !n.outputs.empty() &&
      structure_.rename(n.outputs[0], n.inputs[0]))
    return;
  if (n.op_type == "Constant" && n.outputs.size() == 1 && model_.find_tensor(n.outputs[0]) != nullptr)
    return;  // read when somebody uses it
  const ops::OnnxOp* op = ops::find_onnx(operator_of(n));
  for (size_t i = 0; i < required_inputs(*op, n.inputs.size()); ++i)
    if (i >= n.inputs.size() || n.inputs[i].empty()) throw input_error("input {} is missing", i);
  if (n.outputs.empty()) throw input_error("it has no outputs");
  const ir::Attributes attributes = this->attributes(at);
  const bool foldable = (!n.inputs.empty() || n.op_type == "Constant") &&
                        std::all_of(n.inputs.begin(), n.inputs.end(),
                                    [&](const auto& name) { return name.empty() || is_constant(name); });
  if (foldable && fold(*op, n, attributes)) return;
  if (op->import == nullptr) {
    for (size_t i = 0; i < n.inputs.size(); ++i)
      if (!n.inputs[i].empty() && !is_constant(n.inputs[i]))
        throw input_error(
            "Halftone can only compute it when loading, but input {} ('{}') depends on the samples or on "
            "trained tensors; it has no gradient yet",
            i, n.inputs[i]);
    throw input_error("Halftone can only compute it when loading, but it has no inputs");
  }
  ops::ImportContext context{builder_,         n.op_type,     n.name,
                             n.opset,          attributes,    {},
                             n.outputs.size(), options_.mode, batch_norm_of(n, at)};
  for (const std::string& name : n.inputs) context.inputs.push_back(name.empty() ? kNone : value(name));
  if (n.op_type == "BatchNormalization") check_statistics(context);
  builder_.set_origin(n.name);
  const auto before = static_cast<ValueId>(graph_.values.size());
  const std::vector<ValueId> outputs = op->import(context);
  for (size_t id = static_cast<size_t>(before); id < graph_.values.size(); ++id)
    check_size(graph_.values[id].type.shape);
  for (size_t i = 0; i < n.outputs.size() && i < outputs.size(); ++i) {
    if (outputs[i] == kNone || n.outputs[i].empty()) continue;
    values_[n.outputs[i]] = outputs[i];
    ir::Value& v = graph_.value(outputs[i]);
    if (v.kind == ValueKind::kConstant) constants_[n.outputs[i]] = v.data;
    if (v.kind == ValueKind::kActivation && outputs[i] >= before) v.name = n.outputs[i];
  }
}

bool Importer::fold(const ops::OnnxOp& op, const NodeInfo& n, const ir::Attributes& attributes) {
  std::vector<const Tensor*> inputs;
  for (const std::string& name : n.inputs) inputs.push_back(name.empty() ? nullptr : constant(name).get());
  const ops::FoldContext context{n.op_type, n.opset, attributes, std::move(inputs), n.outputs.size()};
  std::vector<std::optional<Tensor>> outputs;
  int64_t size = 0;
  if (op.fold != nullptr) {
    for (Tensor& t : op.fold(context)) outputs.emplace_back(std::move(t));
  } else if (op.import != nullptr) {
    auto results = ops::run_constants(op, context, n.name, options_.mode);
    if (!results) return false;
    outputs = std::move(*results);
  } else {
    return false;
  }
  for (const auto& t : outputs) size += t ? t->size() : 0;
  if (folded_ + size > kMaxFolded) {
    if (op.fold == nullptr) return false;
    throw input_error("the file's constant nodes have more than {} elements altogether", kMaxFolded);
  }
  folded_ += size;
  for (size_t i = 0; i < n.outputs.size() && i < outputs.size(); ++i)
    if (outputs[i]) constants_[n.outputs[i]] = std::make_shared<const Tensor>(std::move(*outputs[i]));
  return true;
}

ops::BatchNormMode Importer::batch_norm_of(const NodeInfo& n, const Place& at) const {
  const bool frozen = at.branch != nullptr || !n.guards.empty() || options_.frozen_norms.count(at.index) != 0;
  return frozen ? ops::BatchNormMode::kFreeze : options_.batch_norm;
}

void Importer::check_statistics(const ops::ImportContext& c) {
  if (options_.mode != ops::Mode::kTrain || c.batch_norm != ops::BatchNormMode::kTrain) return;
  const bool own = c.attributes.int_or("training_mode", 0) != 0;
  const auto computed = [&](size_t i) {
    if (!c.has(i)) return false;
    const ValueKind kind = graph_.value(c.inputs[i]).kind;
    return kind == ValueKind::kActivation || (own && kind == ValueKind::kConstant);
  };
  if (computed(3) && computed(4)) return;  // no running statistics
  for (size_t i = 3; i < 5 && c.has(i); ++i) {
    const ir::Value& v = graph_.value(c.inputs[i]);
    if (v.kind != ValueKind::kState)
      throw input_error(
          "its running statistics (input {}) are not tensors of the file, but come from an input or from "
          "other "
          "nodes, so they cannot be kept up to date; try --batchnorm freeze",
          i);
    if (!statistics_.insert(c.inputs[i]).second)
      throw input_error(
          "its running statistics '{}' belong to another batch norm too; try --batchnorm freeze", v.name);
  }
}

}  // namespace halftone::onnx
