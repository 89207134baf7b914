// formula  y = condition ? a : b
// gradient Where(condition, dy, 0) for a, Where(condition, 0, dy) for b, summed over what was broadcast
// shapes   condition[any], a[any], b[any] -> y[their common shape]
// dtypes   condition bool (uint8); a and b any, the same
// rounds   never
// saves    the condition
// scratch  none
// alias    y may share memory with an operand of its size
// errors   shapes that don't broadcast; types that differ; a condition that is not of booleans
// source   ONNX Where-9/16. A finite constant that 16 bits cannot hold is a mask (mask.h)
// tests    tests/ops/where_test.cpp
#include <cstring>

#include "base/error.h"
#include "kern/index.h"
#include "ops/broadcast_loop.h"
#include "ops/fold.h"
#include "ops/mask.h"
#include "ops/op.h"

namespace halftone::ops::where {
namespace {

std::vector<Type> infer(const InferContext& c) {
  const Type& a = c.input(1);
  const Type& b = c.input(2);
  if (c.input(0).dtype != DType::kU8)
    throw input_error("the condition must be of booleans, got {}", name_of(c.input(0).dtype));
  if (a.dtype != b.dtype)
    throw input_error("the choices have different types: {} and {}", name_of(a.dtype), name_of(b.dtype));
  return {{a.dtype, broadcast(c.input(0).shape, broadcast(a.shape, b.shape))}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& y = c.output(0);
  if (elements(y.shape) == 0) return {0, [](const RunContext&) {}};
  const BroadcastLoop loop(y.shape, {c.input(0).shape, c.input(1).shape, c.input(2).shape});
  const int64_t width = size_bytes(y.dtype);
  return {0, [=, select = c.kernels.index->select](const RunContext& r) {
            loop.run(r.pool, [&](const BroadcastLoop::Part& p) {
              select({width, static_cast<const uint8_t*>(r.in[0]) + p.first[0], loop.row_stride(0),
                      loop.col_stride(0), at(r.in[1], p.first[1] * width), loop.row_stride(1),
                      loop.col_stride(1), at(r.in[2], p.first[2] * width), loop.row_stride(2),
                      loop.col_stride(2), at(r.out[0], p.out * width), p.rows, p.cols});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  Builder& b = c.builder;
  std::vector<ValueId> dx(3, kNone);
  const ValueId zero = b.scalar(0);
  if (c.needs[1]) dx[1] = b.sum_to(b.add1("Where", {c.x(0), c.dy[0], zero}), b.shape(c.x(1)));
  if (c.needs[2]) dx[2] = b.sum_to(b.add1("Where", {c.x(0), zero, c.dy[0]}), b.shape(c.x(2)));
  return dx;
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {});
  return {c.builder.add1(
      "Where", {c.inputs[0], mask_operand(c.builder, c.inputs[1]), mask_operand(c.builder, c.inputs[2])})};
}

std::vector<Tensor> fold(const FoldContext& c) {
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

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Where", infer, prepare, GradientRule{gradient}, Alias::kMayShare, Permute::kElementwise)},
      {{.op_type = "Where", .since = 9, .until = 24, .import = import, .fold = fold, .required_inputs = 3}},
  };
  return family;
}

}  // namespace halftone::ops::where
