// formula  y = x, repeated along each axis
// gradient the sum over the repetitions
// shapes   x[d0, ...] -> y[d0 * repeats[0], ...]
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    none
// errors   a number of repeats that is not x's number of axes; repeats that are not known when loading, or
//          negative
// source   ONNX Tile-6/13. It becomes Reshape, Expand, Reshape: each repeated axis as two, of which the first
//          is repeated
// tests    tests/ops/index_operators_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::tile {
namespace {

std::vector<int64_t> checked(const Shape& x, std::vector<int64_t> repeats) {
  if (repeats.size() != x.size()) throw input_error("{} repeats for {} axes", repeats.size(), x.size());
  for (size_t i = 0; i < repeats.size(); ++i)
    if (repeats[i] < 0) throw input_error("axis {} is repeated {} times", i, repeats[i]);
  return repeats;
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {});
  const Shape x = c.shape(0);
  const std::vector<int64_t> repeats = checked(x, c.int_constant(1));
  Shape apart, repeated, y;
  for (size_t i = 0; i < x.size(); ++i) {
    if (repeats[i] != 1) {
      apart.push_back(1);
      repeated.push_back(repeats[i]);
    }
    apart.push_back(x[i]);
    repeated.push_back(x[i]);
    y.push_back(x[i]);
    if (__builtin_mul_overflow(y[i], repeats[i], &y[i]))
      throw input_error("axis {} is repeated {} times", i, repeats[i]);
  }
  if (repeated == apart) return {c.inputs[0]};
  Builder& b = c.builder;
  return {b.reshape(b.add1("Expand", {b.reshape(c.inputs[0], apart)}, {{"shape", repeated}}), y)};
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& x = *c.inputs[0];
  const std::vector<int64_t> repeats = checked(x.shape(), fold_ints(c, 1));
  // Each axis as two, [repeat, size], of which the first stands still.
  Shape shape;
  Shape strides;
  for (size_t i = 0; i < repeats.size(); ++i) {
    shape.insert(shape.end(), {repeats[i], x.shape()[i]});
    strides.insert(strides.end(), {0, strides_of(x.shape())[i]});
  }
  const Tensor y =
      gather_strided(x, shape, 0, strides);  // refuses what is too large, so the products below fit
  Shape result;
  for (size_t i = 0; i < repeats.size(); ++i) result.push_back(repeats[i] * x.shape()[i]);
  return one(y.reshaped(result));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "Tile", .since = 6, .until = 24, .import = import, .fold = fold, .required_inputs = 2}}};
  return family;
}

}  // namespace halftone::ops::tile
