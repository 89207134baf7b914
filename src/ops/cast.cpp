// formula  y = x in another type
// shapes   x[any] -> y[same]
// dtypes   in the graph: float to float, where it means nothing, for all floats have the storage type. On
//          constants: any
// rounds   on constants: to the type; float to integer cuts toward zero
// saves    none
// scratch  none
// alias    y is x
// errors   in the graph: to or from another type than float
// source   ONNX Cast-1/6/9/13/19/21/23 (saturate concerns 8-bit floats only), CastLike-15/19/21/23
// tests    tests/ops/cast_test.cpp
#include <cmath>

#include "base/error.h"
#include "ops/families.h"
#include "ops/fold.h"

namespace halftone::ops {
namespace {

// ONNX TensorProto.DataType.
struct OnnxType {
  int64_t code;
  std::string_view name;
  bool supported;
  DType dtype;
  bool is_bool;
};
constexpr OnnxType kTypes[] = {
    {1, "float", true, DType::kF32, false},   {2, "uint8", true, DType::kU8, false},
    {6, "int32", true, DType::kI32, false},   {7, "int64", true, DType::kI64, false},
    {9, "bool", true, DType::kU8, true},      {10, "float16", true, DType::kF16, false},
    {11, "double", true, DType::kF64, false}, {16, "bfloat16", true, DType::kBf16, false},
    {3, "int8", false, DType::kU8, false},    {5, "int16", false, DType::kU8, false},
    {12, "uint32", false, DType::kU8, false}, {13, "uint64", false, DType::kU8, false},
    {8, "string", false, DType::kU8, false}};

const OnnxType& type_of(int64_t code) {
  for (const OnnxType& type : kTypes) {
    if (type.code != code) continue;
    if (!type.supported) throw input_error("a cast to {} is not supported", type.name);
    return type;
  }
  throw input_error("a cast to ONNX's data type {} is not supported", code);
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"to", "saturate", "round_mode"});
  const OnnxType& to = type_of(c.attributes.int_at("to"));
  const DType from = c.builder.type(c.inputs[0]).dtype;
  if (!is_float(from) || !is_float(to.dtype))
    throw input_error(
        "a cast from {} to {} has no gradient; only casts between floats are supported in the network",
        name_of(from), to.name);
  return {c.inputs[0]};
}

std::vector<ValueId> import_like(ImportContext& c) {
  check_attributes(c.attributes, {"saturate", "round_mode"});
  for (const ValueId id : c.inputs)
    if (!is_float(c.builder.type(id).dtype))
      throw input_error("only casts between floats are supported in the network");
  return {c.inputs[0]};
}

Tensor cast(const Tensor& x, DType to, bool to_bool) {
  if (to_bool) {
    std::vector<int64_t> values;
    for (const double v : to_doubles(x)) values.push_back(v != 0 ? 1 : 0);
    return from_int64s(values, DType::kU8, x.shape());
  }
  if (is_float(to))
    return is_float(x.dtype()) ? converted(x, to) : from_doubles(to_doubles(x), to, x.shape());
  if (!is_float(x.dtype())) return from_int64s(to_int64s(x), to, x.shape());
  std::vector<int64_t> values;
  for (const double v : to_doubles(x)) {
    if (!(std::fabs(v) < 0x1p63)) throw input_error("{} cannot be cast to {}", v, name_of(to));
    values.push_back(static_cast<int64_t>(v));
  }
  return from_int64s(values, to, x.shape());
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {"to", "saturate", "round_mode"});
  const OnnxType& to = type_of(c.attributes.int_at("to"));
  std::vector<Tensor> out;
  out.push_back(cast(*c.inputs[0], to.dtype, to.is_bool));
  return out;
}

std::vector<Tensor> fold_like(const FoldContext& c) {
  check_attributes(c.attributes, {"saturate", "round_mode"});
  std::vector<Tensor> out;
  out.push_back(cast(*c.inputs[0], c.inputs[1]->dtype(), false));
  return out;
}

}  // namespace

const OpFamily& cast_family() {
  static const OpFamily family{
      {}, {{"Cast", 1, 24, import, fold}, {"CastLike", 15, 24, import_like, fold_like, 0, 2}}};
  return family;
}

}  // namespace halftone::ops
