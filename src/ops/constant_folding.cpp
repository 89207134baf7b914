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
// source   ONNX Shape-1/13/15/19/21/23, Size-1/13, Constant-1 to 23, ConstantOfShape-9 to 23, Gather-1/11/13,
//          Range-11, Where-9/16, Tile-6/13, Trilu-14, IsNaN-9/13/20, ScatterND-11/13/16/18 (reduction none), and the scalar functions
//          of fold.cpp
// tests    tests/ops/constant_folding_test.cpp
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "ops/families.h"
#include "ops/fold.h"
#include "ops/fold_pointwise.h"

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

int64_t checked_index(int64_t index, int64_t n) {
  if (index < -n || index >= n) throw input_error("index {} is outside [-{}, {})", index, n, n);
  return index < 0 ? index + n : index;
}

std::vector<Tensor> fold_gather(const FoldContext& c) {
  check_attributes(c.attributes, {"axis"});
  const Tensor& x = *c.inputs[0];
  const std::vector<int64_t> indices = fold_ints(c, 1);
  const auto axis = static_cast<size_t>(
      normalize_axis(c.attributes.int_or("axis", 0), static_cast<int64_t>(x.shape().size())));
  Shape shape(x.shape().begin(), x.shape().begin() + static_cast<std::ptrdiff_t>(axis));
  const Shape& middle = c.inputs[1]->shape();
  shape.insert(shape.end(), middle.begin(), middle.end());
  shape.insert(shape.end(), x.shape().begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.shape().end());
  Tensor y = folded(x.dtype(), shape);
  const int64_t n = x.shape()[axis];
  const int64_t run = strides_of(x.shape())[axis] * size_bytes(x.dtype());
  int64_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= x.shape()[i];
  auto* target = static_cast<std::byte*>(y.data());
  for (int64_t o = 0; o < outer; ++o)
    for (const int64_t index : indices) {
      std::memcpy(target, static_cast<const std::byte*>(x.data()) + (o * n + checked_index(index, n)) * run,
                  static_cast<size_t>(run));
      target += run;
    }
  return one(std::move(y));
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

// x's elements broadcast to `shape`.
Tensor expanded(const Tensor& x, const Shape& shape) {
  const Shape own = strides_of(x.shape());
  Shape strides(shape.size(), 0);
  const size_t lead = shape.size() - x.shape().size();
  for (size_t i = lead; i < shape.size(); ++i) strides[i] = x.shape()[i - lead] == 1 ? 0 : own[i - lead];
  return gather_strided(x, shape, 0, strides);
}

std::vector<Tensor> fold_where(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& a = *c.inputs[1];
  const Tensor& b = *c.inputs[2];
  if (is_float(c.inputs[0]->dtype()))
    throw input_error("the condition must be of bools, got {}", name_of(c.inputs[0]->dtype()));
  if (a.dtype() != b.dtype())
    throw input_error("the choices have different types: {} and {}", name_of(a.dtype()), name_of(b.dtype()));
  const Shape shape = broadcast(c.inputs[0]->shape(), broadcast(a.shape(), b.shape()));
  const std::vector<int64_t> condition = to_int64s(expanded(*c.inputs[0], shape));
  Tensor y = expanded(a, shape);
  const Tensor other = expanded(b, shape);
  const auto width = static_cast<size_t>(size_bytes(y.dtype()));
  for (size_t i = 0; i < condition.size(); ++i)
    if (condition[i] == 0)
      std::memcpy(static_cast<std::byte*>(y.data()) + i * width,
                  static_cast<const std::byte*>(other.data()) + i * width, width);
  return one(std::move(y));
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

std::vector<Tensor> fold_scatter_nd(const FoldContext& c) {
  check_attributes(c.attributes, {"reduction"});
  const std::string reduction = c.attributes.string_or("reduction", "none");
  if (reduction != "none") throw input_error("the reduction '{}' is not supported", reduction);
  const Tensor& x = *c.inputs[0];
  const Tensor& updates = *c.inputs[2];
  const Shape& at = c.inputs[1]->shape();
  const std::vector<int64_t> indices = fold_ints(c, 1);
  if (at.empty() || at.back() < 0 || at.back() > static_cast<int64_t>(x.shape().size()))
    throw input_error("indices of shape {} for a tensor {}", to_string(at), to_string(x.shape()));
  const auto depth = static_cast<size_t>(at.back());
  Shape wanted(at.begin(), at.end() - 1);
  wanted.insert(wanted.end(), x.shape().begin() + static_cast<std::ptrdiff_t>(depth), x.shape().end());
  if (updates.shape() != wanted || updates.dtype() != x.dtype())
    throw input_error("updates are {} {}, expected {} {}", name_of(updates.dtype()),
                      to_string(updates.shape()), name_of(x.dtype()), to_string(wanted));
  Tensor y = x.clone();
  const Shape strides = strides_of(x.shape());
  const int64_t run =
      elements(Shape(x.shape().begin() + static_cast<std::ptrdiff_t>(depth), x.shape().end())) *
      size_bytes(x.dtype());
  const int64_t count = elements(Shape(at.begin(), at.end() - 1));
  for (int64_t i = 0; i < count; ++i) {
    int64_t offset = 0;
    for (size_t d = 0; d < depth; ++d)
      offset += checked_index(indices[static_cast<size_t>(i) * depth + d], x.shape()[d]) * strides[d];
    std::memcpy(static_cast<std::byte*>(y.data()) + offset * size_bytes(x.dtype()),
                static_cast<const std::byte*>(updates.data()) + i * run, static_cast<size_t>(run));
  }
  return one(std::move(y));
}

}  // namespace

const OpFamily& constant_folding_family() {
  static const OpFamily family = [] {
    OpFamily f;
    f.onnx = {{"Shape", 1, 24, import_shape, fold_shape},
              {"Size", 1, 24, import_size, fold_size},
              {"Constant", 1, 24, nullptr, fold_constant, 0, 0},
              {"ConstantOfShape", 9, 24, nullptr, fold_constant_of_shape},
              {"Gather", 1, 24, nullptr, fold_gather, 0, 2},
              {"Range", 11, 24, nullptr, fold_range, 0, 3},
              {"Where", 9, 24, nullptr, fold_where, 0, 3},
              {"Tile", 6, 24, nullptr, fold_tile, 0, 2},
              {"Trilu", 14, 24, nullptr, fold_trilu},
              {"IsNaN", 9, 24, nullptr, fold_pointwise},
              {"ScatterND", 11, 24, nullptr, fold_scatter_nd, 0, 3}};
    for (const char* name :
         {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"})
      f.onnx.push_back({name, 7, 24, nullptr, fold_binary, 0, 2});
    f.onnx.push_back({"Not", 1, 24, nullptr, fold_unary});
    f.onnx.push_back({"BitShift", 11, 24, nullptr, fold_bits, 0, 2});
    f.onnx.push_back({"BitwiseNot", 18, 24, nullptr, fold_bits});
    for (const char* name : {"BitwiseAnd", "BitwiseOr", "BitwiseXor"})
      f.onnx.push_back({name, 18, 24, nullptr, fold_bits, 0, 2});
    return f;
  }();
  return family;
}

}  // namespace halftone::ops
