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
// errors   integers that overflow; indices out of range; a division by zero; a result of more than 32 Mi
//          elements; in the graph (inputs that are computed from samples): not supported
// source   ONNX Shape-1/13/15/19/21/23, Size-1/13, Constant-1 to 23, ConstantOfShape-9 to 23, Sin-7/22,
//          Cos-7/22, and the scalar functions of fold.cpp
// tests    tests/ops/constant_folding_test.cpp
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "ops/families.h"
#include "ops/fold.h"
#include "ops/fold_pointwise.h"
#include "ops/whole.h"

namespace halftone::ops {
namespace {

std::vector<Tensor> one(Tensor tensor) {
  std::vector<Tensor> out;
  out.push_back(std::move(tensor));
  return out;
}

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

std::vector<Tensor> fold_range(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const DType dtype = c.inputs[0]->dtype();
  for (const Tensor* t : c.inputs)
    if (t == nullptr || t->size() != 1 || t->dtype() != dtype)
      throw input_error("start, limit and delta must be single numbers of one type");
  const double delta = to_doubles(*c.inputs[2])[0];
  if (delta == 0 || std::isnan(delta)) throw input_error("delta is {}", delta);
  const double count = std::ceil((to_doubles(*c.inputs[1])[0] - to_doubles(*c.inputs[0])[0]) / delta);
  if (!(count < 0x1p40)) throw input_error("the range has {} elements", count);
  const auto n = static_cast<int64_t>(std::max(0.0, count));
  folded(dtype, {n});  // the size limit
  if (is_float(dtype)) {
    std::vector<double> values(static_cast<size_t>(n), to_doubles(*c.inputs[0])[0]);
    for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<double>(i) * delta;
    return one(from_doubles(values, dtype, {n}));
  }
  std::vector<int64_t> values(static_cast<size_t>(n), fold_ints(c, 0)[0]);
  const int64_t step = fold_ints(c, 2)[0];
  for (size_t i = 1; i < values.size(); ++i)
    if (__builtin_add_overflow(values[i - 1], step, &values[i])) throw input_error("the range overflows");
  return one(from_int64s(values, dtype, {n}));
}

std::vector<Tensor> fold_tile(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& x = *c.inputs[0];
  const std::vector<int64_t> repeats = fold_ints(c, 1);
  const size_t rank = x.shape().size();
  if (repeats.size() != rank) throw input_error("{} repeats for {} axes", repeats.size(), rank);
  // Each axis as two, [repeat, size], of which the first stands still.
  Shape shape;
  Shape strides;
  for (size_t i = 0; i < rank; ++i) {
    if (repeats[i] < 0) throw input_error("axis {} is repeated {} times", i, repeats[i]);
    shape.insert(shape.end(), {repeats[i], x.shape()[i]});
    strides.insert(strides.end(), {0, strides_of(x.shape())[i]});
  }
  const Tensor y =
      gather_strided(x, shape, 0, strides);  // refuses what is too large, so the products below fit
  Shape result;
  for (size_t i = 0; i < rank; ++i) result.push_back(repeats[i] * x.shape()[i]);
  return one(y.reshaped(result));
}

}  // namespace

const OpFamily& constant_folding_family() {
  static const OpFamily family = [] {
    OpFamily f;
    f.onnx = {{"Shape", 1, 23, import_shape, fold_shape},
              {"Size", 1, 23, import_size, fold_size},
              {"Constant", 1, 23, nullptr, fold_constant, 0, 0},
              {"ConstantOfShape", 9, 23, nullptr, fold_constant_of_shape},
              {"Range", 11, 23, nullptr, fold_range, 0, 3},
              {"Tile", 6, 23, nullptr, fold_tile, 0, 2},
              {"Trilu", 14, 23, nullptr, fold_trilu},
              {"Sin", 7, 23, nullptr, fold_pointwise},
              {"Cos", 7, 23, nullptr, fold_pointwise}};
    for (const char* name : {"ReduceProd", "ReduceMin", "ReduceMax"})
      f.onnx.push_back({name, 1, 23, import_whole, fold_reduce});
    f.onnx.push_back({"Mod", 10, 23, import_whole, fold_binary, 0, 2});
    for (const char* name : {"Min", "Max"})
      f.onnx.push_back({name, 7, 23, import_whole, fold_binary, 0, OnnxOp::kEveryInput});
    f.onnx.push_back({"Sign", 9, 23, import_whole, fold_unary});
    for (const char* name : {"Floor", "Ceil", "Round"}) f.onnx.push_back({name, 1, 23, nullptr, fold_unary});
    return f;
  }();
  return family;
}

}  // namespace halftone::ops
