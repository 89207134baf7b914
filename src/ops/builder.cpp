#include "base/error.h"
#include "ops/op.h"

namespace halftone::ops {

std::vector<ValueId> Builder::add(std::string_view op, std::vector<ValueId> inputs, Attributes attributes) {
  const OpDef& def = find(op);
  ir::Node node;
  node.op = std::string(op);
  node.name = origin_;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.phase = phase_;
  const std::vector<Type> types = def.infer(InferContext{graph_, node});
  for (const Type& type : types) {
    ir::Value value;
    value.name = fmt::format("{}:{}", origin_.empty() ? std::string(op) : origin_, graph_.values.size());
    value.type = type;
    node.outputs.push_back(graph_.add_value(std::move(value)));
  }
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back().outputs;
}

ValueId Builder::constant(Tensor data, std::string name) {
  ir::Value value;
  value.kind = ir::ValueKind::kConstant;
  value.type = {is_float(data.dtype()) ? storage_ : data.dtype(), data.shape()};
  value.name = name.empty() ? fmt::format("constant:{}", graph_.values.size()) : std::move(name);
  value.data = std::make_shared<const Tensor>(std::move(data));
  return graph_.add_value(std::move(value));
}

ValueId Builder::scalar(double value) {
  Tensor t(DType::kF64, {});
  t.as<double>()[0] = value;
  return constant(std::move(t));
}

ValueId Builder::reshape(ValueId x, Shape shape_wanted) {
  if (shape(x) == shape_wanted) return x;
  return add1("Reshape", {x}, {{"shape", std::move(shape_wanted)}});
}

ValueId Builder::transpose(ValueId x, const std::vector<int64_t>& axes) {
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i] != static_cast<int64_t>(i)) return add1("Transpose", {x}, {{"perm", axes}});
  return x;
}

ValueId Builder::sum_to(ValueId x, Shape target) {
  const Shape from = shape(x);
  if (from == target) return x;
  HT_ASSERT(target.size() <= from.size(), "{} to {}", to_string(from), to_string(target));
  const size_t lead = from.size() - target.size();
  std::vector<int64_t> axes;
  for (size_t i = 0; i < from.size(); ++i)
    if (i < lead || (target[i - lead] == 1 && from[i] != 1)) axes.push_back(static_cast<int64_t>(i));
  if (!axes.empty()) x = add1("ReduceSum", {x}, {{"axes", axes}, {"keepdims", int64_t{0}}});
  return reshape(x, std::move(target));
}

const Tensor* ImportContext::constant(size_t i) const {
  if (!has(i)) return nullptr;
  const ir::Value& value = builder.graph().value(inputs[i]);
  return value.kind == ir::ValueKind::kConstant ? value.data.get() : nullptr;
}

std::vector<int64_t> ImportContext::int_constant(size_t i) const {
  const Tensor* tensor = constant(i);
  if (tensor == nullptr || is_float(tensor->dtype()))
    throw input_error("input {} must be a constant of integers that can be computed when loading", i);
  return to_int64s(*tensor);
}

}  // namespace halftone::ops
