// formula  y[i] = x[starts + i * steps]
// gradient Pad with zeros (pad.cpp)
// shapes   x[d0, ...] -> y[sizes]
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    none
// errors   axis outside [-rank, rank) or named twice; a step of 0; starts, ends, axes or steps that are not
//          constants
// source   ONNX Slice-1/10/11/13 (attributes before 10, constant inputs since)
// tests    tests/ops/slice_test.cpp
#include "ops/slice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/strided_copy.h"

namespace halftone::ops {
namespace slice {
namespace {

// IR attributes, one number an axis: starts (in range), sizes (of y), steps (not 0).
std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  const std::vector<int64_t>& starts = c.attributes().ints_at("starts");
  const std::vector<int64_t>& sizes = c.attributes().ints_at("sizes");
  const std::vector<int64_t>& steps = c.attributes().ints_at("steps");
  const size_t rank = x.shape.size();
  HT_ASSERT(starts.size() == rank && sizes.size() == rank && steps.size() == rank, "{}", to_string(x.shape));
  for (size_t i = 0; i < rank; ++i) {
    if (sizes[i] == 0) continue;
    const int64_t last = starts[i] + (sizes[i] - 1) * steps[i];
    HT_ASSERT(starts[i] >= 0 && starts[i] < x.shape[i] && last >= 0 && last < x.shape[i], "axis {} of {}", i,
              to_string(x.shape));
  }
  return {{x.dtype, sizes}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& x = c.input(0);
  const Type& y = c.output(0);
  const std::vector<int64_t>& starts = c.attributes().ints_at("starts");
  const std::vector<int64_t>& steps = c.attributes().ints_at("steps");
  Shape strides = strides_of(x.shape);
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    offset += starts[i] * strides[i];
    strides[i] *= steps[i];
  }
  const StridedCopy copy(c.kernels, y.dtype, y.shape, strides, strides_of(y.shape), offset, 0);
  return {0, [copy](const RunContext& r) { copy.run(r.pool, r.in[0], r.out[0]); }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.add1("Pad", {c.dy[0]},
                         {{"shape", c.builder.shape(c.x(0))},
                          {"starts", c.node.attributes.ints_at("starts")},
                          {"steps", c.node.attributes.ints_at("steps")},
                          {"value", 0.0}})};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  Permuted out{true, node.attributes, perm};
  for (const char* name : {"starts", "sizes", "steps"}) {
    const std::vector<int64_t>& from = node.attributes.ints_at(name);
    std::vector<int64_t> to(from.size());
    for (size_t i = 0; i < from.size(); ++i) to[static_cast<size_t>(perm[i])] = from[i];
    out.attributes.set(name, to);
  }
  return out;
}

struct Range {
  Shape starts, sizes, steps;
};

// ONNX's meaning of starts, ends, axes and steps for a tensor of this shape.
Range range_of(const Shape& x, const std::vector<int64_t>& starts, const std::vector<int64_t>& ends,
               std::vector<int64_t> axes, std::vector<int64_t> steps) {
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    throw input_error("there are {} starts, {} ends, {} axes and {} steps", starts.size(), ends.size(),
                      axes.size(), steps.size());
  Range range{Shape(x.size(), 0), x, Shape(x.size(), 1)};
  std::vector<bool> seen(x.size(), false);
  for (size_t k = 0; k < starts.size(); ++k) {
    const auto axis = static_cast<size_t>(normalize_axis(axes[k], static_cast<int64_t>(x.size())));
    if (seen[axis]) throw input_error("axis {} is named twice", axis);
    seen[axis] = true;
    const int64_t n = x[axis];
    const int64_t step = steps[k];
    if (step == 0 || step == std::numeric_limits<int64_t>::min())
      throw input_error("the step of axis {} is {}", axis, step);
    const int64_t low = step > 0 ? 0 : -1;
    const int64_t start = std::clamp(starts[k] < 0 ? starts[k] + n : starts[k], int64_t{0},
                                     step > 0 ? n : std::max<int64_t>(n - 1, 0));
    const int64_t end = std::clamp(ends[k] < 0 ? ends[k] + n : ends[k], low, n);
    const int64_t distance = step > 0 ? end - start : start - end;
    range.sizes[axis] = n == 0 || distance <= 0 ? 0 : 1 + (distance - 1) / std::abs(step);
    // A step beyond the only element means nothing; keeping it would overflow strides.
    range.steps[axis] = range.sizes[axis] <= 1 ? 1 : step;
    range.starts[axis] = range.sizes[axis] == 0 ? 0 : start;
  }
  return range;
}

template <class Ints>
Range decode(int opset, const Attributes& attributes, const Shape& x, size_t input_count, const Ints& input) {
  if (opset < 10) {
    check_attributes(attributes, {"starts", "ends", "axes"});
    return range_of(x, attributes.ints_at("starts"), attributes.ints_at("ends"),
                    attributes.ints_or("axes", {}), {});
  }
  check_attributes(attributes, {});
  if (input_count < 3) throw input_error("starts or ends are missing");
  return range_of(x, input(1), input(2), input(3), input(4));
}

std::vector<ValueId> import(ImportContext& c) {
  const Range range = decode(c.opset, c.attributes, c.shape(0), c.inputs.size(),
                             [&](size_t i) { return c.has(i) ? c.int_constant(i) : std::vector<int64_t>{}; });
  if (range.sizes == c.shape(0) &&
      std::all_of(range.steps.begin(), range.steps.end(), [](int64_t s) { return s == 1; }))
    return {c.inputs[0]};
  return {c.builder.add1("Slice", {c.inputs[0]},
                         {{"starts", range.starts}, {"sizes", range.sizes}, {"steps", range.steps}})};
}

std::vector<Tensor> fold(const FoldContext& c) {
  const Tensor& x = *c.inputs[0];
  const Range range = decode(c.opset, c.attributes, x.shape(), c.inputs.size(), [&](size_t i) {
    return i < c.inputs.size() && c.inputs[i] != nullptr ? fold_ints(c, i) : std::vector<int64_t>{};
  });
  Shape strides = strides_of(x.shape());
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    offset += range.starts[i] * strides[i];
    strides[i] *= range.steps[i];
  }
  std::vector<Tensor> out;
  out.push_back(gather_strided(x, range.sizes, offset, strides));
  return out;
}

}  // namespace
}  // namespace slice

ValueId add_slice(Builder& b, ValueId x, size_t axis, int64_t start, int64_t size, int64_t step) {
  const Shape shape = b.shape(x);
  if (size == shape[axis]) return x;
  Shape starts(shape.size(), 0);
  Shape sizes = shape;
  Shape steps(shape.size(), 1);
  starts[axis] = start;
  sizes[axis] = size;
  steps[axis] = step;
  return b.add1("Slice", {x}, {{"starts", starts}, {"sizes", sizes}, {"steps", steps}});
}

namespace slice {

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Slice", infer, prepare, GradientRule{gradient}, Alias::kFresh, Permute::kAxes, permute)},
      {{.op_type = "Slice", .since = 1, .until = 24, .import = import, .fold = fold}},
  };
  return family;
}

}  // namespace slice

}  // namespace halftone::ops
