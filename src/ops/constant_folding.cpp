// What exporters compute shapes with. These nodes have no counterpart in our graph: Shape and Size become
// constants, because all shapes are known, and the others are evaluated on the host, because then all their
// inputs are.
//
// formula  ONNX's
// shapes   ONNX's
// dtypes   int64 int32 uint8 (also bool) and floats
// rounds   floats: in double, then once to their type
// saves    none
// scratch  none
// alias    none
// errors   a result of more than 32 Mi elements; bits of floats; ConstantOfShape and bit operations in the
//          graph (inputs that are computed from samples): not supported
// source   ONNX Shape-1/13/15/19/21/23/24, Size-1/13/19/21/23/24, Constant-1 to 24, ConstantOfShape-9 to 24,
//          BitShift-11, BitwiseNot/And/Or/Xor-18
// tests    tests/ops/constant_folding_test.cpp
#include <algorithm>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/fold_pointwise.h"
#include "ops/op.h"

namespace halftone::ops::constant_folding {
namespace {

Tensor shape_part(const Attributes& attributes, int opset, const Shape& x) {
  if (opset < 15) {
    check_attributes(attributes, {});
  } else {
    check_attributes(attributes, {"start", "end"});
  }
  const auto rank = static_cast<int64_t>(x.size());
  const auto bound = [&](const char* name, int64_t otherwise) {
    const int64_t v = attributes.int_or(name, otherwise);
    return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank);
  };
  const int64_t start = bound("start", 0);
  const int64_t end = std::max(start, bound("end", rank));
  const std::vector<int64_t> part(x.begin() + start, x.begin() + end);
  return int64_tensor(part, {end - start});
}

std::vector<ValueId> import_shape(ImportContext& c) {
  return {c.builder.constant(shape_part(c.attributes, c.opset, c.shape(0)))};
}
std::vector<Tensor> fold_shape(const FoldContext& c) {
  return one(shape_part(c.attributes, c.opset, c.inputs[0]->shape()));
}

std::vector<ValueId> import_size(ImportContext& c) {
  check_attributes(c.attributes, {});
  return {c.builder.constant(int64_tensor({elements(c.shape(0))}, {}))};
}
std::vector<Tensor> fold_size(const FoldContext& c) {
  check_attributes(c.attributes, {});
  return one(int64_tensor({c.inputs[0]->size()}, {}));
}

std::vector<Tensor> fold_constant(const FoldContext& c) {
  check_attributes(c.attributes, {"value", "value_float", "value_floats", "value_int", "value_ints"});
  const auto length = [](const auto& list) { return static_cast<int64_t>(list.size()); };
  for (const auto& [name, attribute] : c.attributes) {
    if (name == "value") return one(c.attributes.tensor_at("value").clone());
    if (name == "value_float")
      return one(from_doubles({c.attributes.float_at("value_float")}, DType::kF32, {}));
    if (name == "value_int") return one(int64_tensor({c.attributes.int_at("value_int")}, {}));
    if (name == "value_ints") {
      const std::vector<int64_t>& list = c.attributes.ints_at("value_ints");
      return one(int64_tensor(list, {length(list)}));
    }
    if (const auto* list = std::get_if<std::vector<double>>(&attribute))
      return one(from_doubles(*list, DType::kF32, {length(*list)}));
  }
  throw input_error("the constant has no value");
}

std::vector<Tensor> fold_constant_of_shape(const FoldContext& c) {
  check_attributes(c.attributes, {"value"});
  const Shape shape = fold_ints(c, 0);
  if (!c.attributes.has("value")) return one(folded(DType::kF32, shape));
  const Tensor& value = c.attributes.tensor_at("value");
  if (value.size() != 1) throw input_error("value must have one element, got {}", to_string(value.shape()));
  return one(gather_strided(value, shape, 0, Shape(shape.size(), 0)));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family = [] {
    OpFamily f;
    f.onnx = {{.op_type = "Shape", .since = 1, .until = 24, .import = import_shape, .fold = fold_shape},
              {.op_type = "Size", .since = 1, .until = 24, .import = import_size, .fold = fold_size},
              {.op_type = "Constant", .since = 1, .until = 24, .fold = fold_constant, .required_inputs = 0},
              {.op_type = "ConstantOfShape", .since = 9, .until = 24, .fold = fold_constant_of_shape}};
    f.onnx.push_back(
        {.op_type = "BitShift", .since = 11, .until = 24, .fold = fold_bits, .required_inputs = 2});
    f.onnx.push_back({.op_type = "BitwiseNot", .since = 18, .until = 24, .fold = fold_bits});
    for (const char* name : {"BitwiseAnd", "BitwiseOr", "BitwiseXor"})
      f.onnx.push_back({.op_type = name, .since = 18, .until = 24, .fold = fold_bits, .required_inputs = 2});
    return f;
  }();
  return family;
}

}  // namespace halftone::ops::constant_folding
