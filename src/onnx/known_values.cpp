#include "onnx/known_values.h"

#include <algorithm>
#include <cstddef>

#include "base/error.h"
#include "base/resource_error.h"
#include "base/words.h"
#include "onnx/domain.h"
#include "onnx/model_contents.h"
#include "onnx/required_inputs.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

// Conditions are made of single numbers and of shapes.
constexpr int64_t kMostElements = 64;

bool is_small(const ::onnx::TensorProto& t) {
  const std::optional<DType> dtype = dtype_of(t.data_type());
  if (!dtype || is_float(*dtype)) return false;
  int64_t size = 1;
  for (const int64_t d : t.dims()) {
    if (d < 0 || d > kMostElements) return false;
    size *= d;
    if (size > kMostElements) return false;
  }
  return true;
}

// Those whose results are not larger than what they read.
bool makes_conditions(const std::string& op) {
  return is_one_of(op, {"Add",       "And",   "Cast",        "Concat",  "Constant",
                        "Div",       "Equal", "Gather",      "Greater", "GreaterOrEqual",
                        "Identity",  "Less",  "LessOrEqual", "Mod",     "Mul",
                        "Not",       "Or",    "Reshape",     "Squeeze", "Sub",
                        "Unsqueeze", "Xor"});
}

}  // namespace

KnownValues::KnownValues(const ::onnx::GraphProto& graph, const TensorFile& file) : file_(file) {
  for (const ::onnx::TensorProto& t : graph.initializer())
    if (is_small(t)) unread_.emplace(t.name(), &t);
}

void KnownValues::set(const std::string& name, Tensor value) {
  if (!is_float(value.dtype()) && value.size() <= kMostElements)
    values_.insert_or_assign(name, std::move(value));
}

const Tensor* KnownValues::find(const std::string& name) {
  if (const auto it = values_.find(name); it != values_.end()) return &it->second;
  const auto unread = unread_.find(name);
  if (unread == unread_.end()) return nullptr;
  checked_shape(*unread->second, file_);
  return &values_.emplace(name, decode(*unread->second, file_)).first->second;
}

std::optional<bool> KnownValues::truth(const std::string& name) {
  const Tensor* value = find(name);
  if (value == nullptr || value->size() != 1 || value->dtype() != DType::kU8) return std::nullopt;
  return value->as<uint8_t>()[0] != 0;
}

void KnownValues::visit(const ::onnx::NodeProto& node, int opset) {
  if (!is_default_domain(node.domain()) || !makes_conditions(node.op_type()) || node.output_size() != 1)
    return;
  if (node.op_type() == "Constant") {
    if (node.attribute_size() != 1) return;
    const ::onnx::AttributeProto& a = node.attribute(0);
    if (a.name() == "value" ? !a.has_t() || !is_small(a.t()) : a.name() != "value_int") return;
  } else if (node.input_size() == 0) {
    return;
  }
  std::vector<const Tensor*> inputs;
  for (const std::string& name : node.input()) {
    const Tensor* value = name.empty() ? nullptr : find(name);
    if (value == nullptr && !name.empty()) return;
    inputs.push_back(value);
  }
  const ops::OnnxOp* op = ops::find_onnx(node.op_type());
  if (op == nullptr || op->fold == nullptr || opset < op->since || opset > op->until) return;
  const size_t required = required_inputs(*op, inputs.size());
  if (inputs.size() < required) return;
  if (std::any_of(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(required),
                  [](const Tensor* t) { return t == nullptr; }))
    return;
  try {
    const ir::Attributes attributes = attributes_of(node, file_);
    std::vector<Tensor> outputs = op->fold({node.op_type(), opset, attributes, std::move(inputs), 1});
    if (outputs.size() == 1) set(node.output(0), std::move(outputs[0]));
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return;  // it is said where the node is imported
  }
}

}  // namespace halftone::onnx
