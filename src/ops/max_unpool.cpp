// MaxUnpool: each element at the place of a larger image that an index names, zeros elsewhere.
//
// formula  y = 0, then y[I[i]] = x[i], in the order of i, both counted over the whole tensor
// gradient ScatterRows': dy at the places; 0 for an element that a later one replaced
// shapes   x[N, C, ...], I[as x] -> y[N, C, ...]: (size - 1) * stride - pads + kernel on each spatial axis,
//          or output_shape
// dtypes   x fp16 bf16 fp32, fp64 in the oracle; I int64
// rounds   never
// saves    the rows
// scratch  rows.cpp's
// alias    none
// errors   shapes that don't fit; an output_shape smaller than that, or not constant; while it runs: an index
//          outside the image
// source   ONNX MaxUnpool-9/11/22. The indices count in the image that the attributes give, which
//          output_shape then extends with zeros behind it: the reference's meaning
// tests    tests/ops/scatter_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"

namespace halftone::ops::max_unpool {
namespace {

std::vector<int64_t> numbers(const ImportContext& c, const char* name, size_t count, int64_t otherwise,
                             int64_t low) {
  const std::vector<int64_t> list = c.attributes.ints_or(name, std::vector<int64_t>(count, otherwise));
  if (list.size() != count) throw input_error("{} has {} numbers, expected {}", name, list.size(), count);
  constexpr int64_t kLimit = int64_t{1} << 24;  // products of two fit easily
  for (const int64_t v : list)
    if (v < low || v > kLimit) throw input_error("{} has the value {}", name, v);
  return list;
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"kernel_shape", "pads", "strides"});
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  if (x.size() < 3) throw input_error("an input [N, C, ...] was expected, got {}", to_string(x));
  if (c.shape(1) != x)
    throw input_error("the indices are {}, expected {}", to_string(c.shape(1)), to_string(x));
  if (!c.attributes.has("kernel_shape")) throw input_error("kernel_shape is missing");
  const size_t axes = x.size() - 2;
  const std::vector<int64_t> kernel = numbers(c, "kernel_shape", axes, 1, 1);
  const std::vector<int64_t> strides = numbers(c, "strides", axes, 1, 1);
  const std::vector<int64_t> pads = numbers(c, "pads", 2 * axes, 0, 0);
  Shape image = x;
  for (size_t i = 0; i < axes; ++i) {
    image[i + 2] = (x[i + 2] - 1) * strides[i] + kernel[i] - pads[i] - pads[i + axes];
    if (image[i + 2] < 1)
      throw input_error("axis {} of the output would have {} elements", i + 2, image[i + 2]);
  }
  Shape y = image;
  if (c.has(2)) {
    y = c.int_constant(2);
    bool fits = y.size() == image.size() && y[0] == image[0] && y[1] == image[1];
    for (size_t i = 2; fits && i < y.size(); ++i) fits = y[i] >= image[i];
    if (!fits) throw input_error("output_shape is {}, expected at least {}", to_string(y), to_string(image));
  }
  const Shape flat{elements(x)};
  const ValueId zeros = b.add1("Expand", {b.scalar(0)}, {{"shape", Shape{elements(image)}}});
  const RowPlan plan = plan_elements({elements(image)}, flat, 0);
  const ValueId indices = b.reshape(only_from_front(b, c.inputs[1], elements(image), "indices"), flat);
  const ValueId rows = add_row_indices(b, plan, indices, "the image " + to_string(image));
  ValueId out = add_scatter_rows(b, plan, zeros, b.reshape(c.inputs[0], flat), rows, "none");
  out = b.reshape(out, image);
  for (size_t i = 2; i < y.size(); ++i) {
    if (y[i] == image[i]) continue;
    Shape rest = b.shape(out);
    rest[i] = y[i] - image[i];
    const ValueId more = b.add1("Expand", {b.scalar(0)}, {{"shape", rest}});
    out = b.add1("Concat", {out, more}, {{"axis", static_cast<int64_t>(i)}});
  }
  return {out};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "MaxUnpool", .since = 9, .until = 24, .import = import, .required_inputs = 2}}};
  return family;
}

}  // namespace halftone::ops::max_unpool
