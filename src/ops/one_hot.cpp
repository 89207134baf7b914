// formula  y = on where the new axis' index equals the element of indices (negative ones count from the end),
//          else off
// gradient to on and off only, as Where's
// shapes   indices[any] -> y with one more axis of size depth; depth is one number, values [off, on]
// dtypes   indices int64, int32 or float (cut toward zero); values any
// rounds   never
// saves    the condition
// scratch  none
// alias    none
// errors   axis outside [-rank - 1, rank]; a depth that is not known when loading or above 2^25; values of
//          another shape than 2
// source   ONNX OneHot-9/11. An index outside [-depth, depth) gives a row of off, as ONNX says
// tests    tests/ops/index_operators_test.cpp
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops::one_hot {
namespace {

constexpr double kMostDepth = 0x1p25;

int64_t depth_of(const Tensor* depth) {
  if (depth == nullptr || depth->size() != 1)
    throw input_error("depth must be one number that is known when loading");
  const double n = to_doubles(*depth)[0];
  // The indices that are compared with are constants: refused before they are made.
  if (!(n >= 1 && n <= kMostDepth)) throw input_error("depth is {}, expected 1 to {}", n, kMostDepth);
  return static_cast<int64_t>(n);
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"axis"});
  Builder& b = c.builder;
  const int64_t depth = depth_of(c.constant(1));
  if (c.shape(2) != Shape{2})
    throw input_error("values must be [off, on], got the shape {}", to_string(c.shape(2)));
  Shape shape = c.shape(0);
  const int64_t axis =
      normalize_axis(c.attributes.int_or("axis", -1), static_cast<int64_t>(shape.size()) + 1);
  shape.insert(shape.begin() + axis, 1);
  ValueId indices = c.inputs[0];
  if (b.type(indices).dtype != DType::kI32) indices = add_cast(b, indices, DType::kI64);
  indices = b.reshape(indices, shape);
  const DType dtype = b.type(indices).dtype;
  std::vector<int64_t> places(static_cast<size_t>(depth));
  std::vector<int64_t> from_end(places.size());
  for (int64_t i = 0; i < depth; ++i) {
    places[static_cast<size_t>(i)] = i;
    from_end[static_cast<size_t>(i)] = i - depth;
  }
  Shape line(shape.size(), 1);
  line[static_cast<size_t>(axis)] = depth;
  const auto equals = [&](const std::vector<int64_t>& numbers) {
    return add_compare(b, "Equal", indices, b.constant(from_int64s(numbers, dtype, line)));
  };
  const ValueId condition = add_whole_binary(b, "Or", equals(places), equals(from_end));
  const std::vector<ValueId> values =
      b.add("Split", {c.inputs[2]}, {{"axis", int64_t{0}}, {"split", Shape{1, 1}}});
  return {b.add1("Where", {condition, b.reshape(values[1], {}), b.reshape(values[0], {})})};
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {"axis"});
  const int64_t depth = depth_of(c.inputs[1]);
  const Tensor& values = *c.inputs[2];
  if (values.shape() != Shape{2})
    throw input_error("values must be [off, on], got the shape {}", to_string(values.shape()));
  const Shape& x = c.inputs[0]->shape();
  const auto axis = static_cast<size_t>(
      normalize_axis(c.attributes.int_or("axis", -1), static_cast<int64_t>(x.size()) + 1));
  Shape shape = x;
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), depth);
  std::vector<int64_t> indices;
  for (const double v : to_doubles(*c.inputs[0])) {
    if (!(std::fabs(v) < 0x1p63)) throw input_error("{} is no index", v);
    const auto index = static_cast<int64_t>(v);
    indices.push_back(index < 0 ? index + depth : index);
  }
  std::vector<Tensor> out;
  out.push_back(folded(values.dtype(), shape));
  const int64_t inner = strides_of(shape)[axis];
  const auto width = static_cast<size_t>(size_bytes(values.dtype()));
  for (int64_t i = 0; i < out[0].size(); ++i) {
    const int64_t place = i / inner % depth;
    const int64_t index = indices[static_cast<size_t>(i / (inner * depth) * inner + i % inner)];
    std::memcpy(static_cast<std::byte*>(out[0].data()) + static_cast<size_t>(i) * width,
                static_cast<const std::byte*>(values.data()) + (index == place ? width : 0), width);
  }
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "OneHot", .since = 9, .until = 24, .import = import, .fold = fold, .required_inputs = 3}}};
  return family;
}

}  // namespace halftone::ops::one_hot
