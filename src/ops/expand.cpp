// formula  y = x, repeated along the axes where x is 1 and y is not
// gradient the sum over those axes
// shapes   x[..., 1, ...] -> y[..., N, ...]
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    none
// errors   shapes that don't broadcast; a shape that is not a constant
// source   ONNX Expand-8/13 (multidirectional: an axis of 1 in `shape` keeps x's)
// tests    tests/ops/expand_test.cpp
#include <numeric>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/strided_copy.h"

namespace halftone::ops::expand {
namespace {

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  const Shape& shape = c.attributes().ints_at("shape");
  if (broadcast(x.shape, shape) != shape)
    throw input_error("{} cannot be expanded to {}", to_string(x.shape), to_string(shape));
  return {{x.dtype, shape}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& y = c.output(0);
  const StridedCopy copy(c.kernels, y.dtype, y.shape, broadcast_strides(c.input(0).shape, y.shape),
                         strides_of(y.shape));
  return {0, [copy](const RunContext& r) { copy.run(r.pool, r.in[0], r.out[0]); }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.sum_to(c.dy[0], c.builder.shape(c.x(0)))};
}

// New leading axes stay in front; the others move as the input's.
Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  const Shape& shape = node.attributes.ints_at("shape");
  const size_t lead = shape.size() - perm.size();
  std::vector<int64_t> axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  for (size_t i = 0; i < perm.size(); ++i) axes[lead + i] = perm[i] + static_cast<int64_t>(lead);
  Shape moved(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) moved[static_cast<size_t>(axes[i])] = shape[i];
  Permuted out{true, node.attributes, axes};
  out.attributes.set("shape", moved);
  return out;
}

Shape checked(const std::vector<int64_t>& shape) {
  for (const int64_t d : shape)
    if (d < 0) throw input_error("a dimension of the shape is {}", d);
  return shape;
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {});
  const Shape y = broadcast(c.shape(0), checked(c.int_constant(1)));
  if (y == c.shape(0)) return {c.inputs[0]};
  if (elements(y) == elements(c.shape(0))) return {c.builder.reshape(c.inputs[0], y)};
  return {c.builder.add1("Expand", {c.inputs[0]}, {{"shape", y}})};
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& x = *c.inputs[0];
  return one(expanded(x, broadcast(x.shape(), checked(fold_ints(c, 1)))));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Expand", infer, prepare, GradientRule{gradient}, Alias::kFresh, Permute::kAxes, permute)},
      {{.op_type = "Expand", .since = 8, .until = 24, .import = import, .fold = fold, .required_inputs = 2}},
  };
  return family;
}

}  // namespace halftone::ops::expand
