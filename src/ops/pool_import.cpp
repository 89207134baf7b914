// ONNX's pooling, from MaxPool and AveragePool over images (pool.cpp) and sums along axes (resample.cpp).
//
// formula  MaxPool, AveragePool: pool.cpp's; LpPool: (sum over the window's taps of |x|^p)^(1/p);
//          GlobalMaxPool, GlobalLpPool: one window over all spatial axes
// gradient that of what they become. Of equal maxima the first tap has it
// shapes   x[N, C, W], x[N, C, H, W] or x[N, C, D, H, W] -> y[N, C, ...]. A sequence is an image of one
//          row. A maximum over D, H, W is one over H, W, then one over D; an average one along each axis
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   MaxPool never; AveragePool once; LpPool at |x|^p, at the sum and at the root
// saves    MaxPool: x; LpPool: x, the sum
// scratch  of the nodes they become
// alias    none
// errors   other ranks; a window without a valid tap (its count would be 0)
// source   ONNX MaxPool-1/8/10/11/12/22, AveragePool-1/7/10/11/19/22, LpPool-1/2/11/18/22,
//          GlobalMaxPool-1/22, GlobalLpPool-1/2/22
// tests    tests/ops/pool_test.cpp, tests/ops/conv_transpose_test.cpp
#include <algorithm>

#include "base/error.h"
#include "kern/pool_indices.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/pool_window.h"
#include "ops/resample.h"

namespace halftone::ops::pool_import {
namespace {

// One number for each spatial axis.
std::vector<int64_t> spatial(const Attributes& a, const char* name, size_t count, int64_t otherwise,
                             int64_t low) {
  std::vector<int64_t> list = a.ints_or(name, std::vector<int64_t>(count, otherwise));
  if (list.size() != count) throw input_error("{} has {} numbers, expected {}", name, list.size(), count);
  constexpr int64_t kLimit = int64_t{1} << 24;  // products of two fit easily
  for (const int64_t v : list)
    if (v < low || v > kLimit) throw input_error("{} has the value {}", name, v);
  return list;
}

PoolWindow window_of(const ImportContext& c, const Shape& x) {
  if (x.size() < 3 || x.size() > 5)
    throw input_error("an input [N, C, W], [N, C, H, W] or [N, C, D, H, W] was expected, got {}",
                      to_string(x));
  const size_t axes = x.size() - 2;
  if (!c.attributes.has("kernel_shape")) throw input_error("kernel_shape is missing");
  PoolWindow w{
      spatial(c.attributes, "kernel_shape", axes, 1, 1), spatial(c.attributes, "strides", axes, 1, 1),
      spatial(c.attributes, "dilations", axes, 1, 1),    spatial(c.attributes, "pads", 2 * axes, 0, 0),
      c.attributes.int_or("ceil_mode", 0) != 0,          c.attributes.int_or("count_include_pad", 0) != 0};
  const std::string auto_pad = c.attributes.string_or("auto_pad", "NOTSET");
  if (auto_pad == "NOTSET") return w;
  if (auto_pad != "SAME_UPPER" && auto_pad != "SAME_LOWER" && auto_pad != "VALID")
    throw input_error("auto_pad is '{}'", auto_pad);
  w.pads.assign(2 * axes, 0);
  w.ceil_mode = false;
  for (size_t i = 0; i < axes && auto_pad != "VALID"; ++i) {
    const int64_t n = x[i + 2];
    const int64_t total =
        std::max<int64_t>(0, (ceil_div(n, w.strides[i]) - 1) * w.strides[i] + w.span(i) - n);
    const int64_t smaller = total / 2;
    w.pads[i] = auto_pad == "SAME_UPPER" ? smaller : total - smaller;
    w.pads[i + axes] = total - w.pads[i];
  }
  return w;
}

// Axis i of the window, or none where it has no such axis.
struct Step {
  int64_t kernel = 1, stride = 1, dilation = 1, before = 0, after = 0;
};
Step step_of(const PoolWindow& w, size_t i) {
  return {w.kernel[i], w.strides[i], w.dilations[i], w.pads[i], w.pads[i + w.axes()]};
}

// x[N, H, W, C] pooled.
ValueId pool_image(Builder& b, std::string_view op, ValueId x, const Step& h, const Step& v, bool ceil_mode,
                   bool count_include_pad) {
  Attributes attributes{{"kernel", std::vector<int64_t>{h.kernel, v.kernel}},
                        {"strides", std::vector<int64_t>{h.stride, v.stride}},
                        {"dilations", std::vector<int64_t>{h.dilation, v.dilation}},
                        {"pads", std::vector<int64_t>{h.before, v.before, h.after, v.after}},
                        {"ceil_mode", int64_t{ceil_mode}}};
  if (op == "AveragePool") attributes.set("count_include_pad", int64_t{count_include_pad});
  return b.add1(op, {x}, std::move(attributes));
}

// Sums, or averages, of the windows along one axis of n elements.
AxisTable window_table(const PoolWindow& w, size_t i, int64_t axis, int64_t n, bool average) {
  const int64_t count = window_count(w, i, n);
  check_taps(w, i, n, count);
  check_table(axis, static_cast<double>(count) * static_cast<double>(w.kernel[i]));
  AxisTable t;
  t.axis = axis;
  for (int64_t j = 0; j < count; ++j) {
    const int64_t start = j * w.strides[i] - w.pads[i];
    int64_t inside = 0;
    int64_t counted = 0;
    for (int64_t k = 0; k < w.kernel[i]; ++k) {
      const int64_t at = start + k * w.dilations[i];
      counted += at < n + w.pads[i + w.axes()] ? 1 : 0;
      inside += at >= 0 && at < n ? 1 : 0;
    }
    const double weight = average ? 1.0 / static_cast<double>(w.count_include_pad ? counted : inside) : 1.0;
    for (int64_t k = 0; k < w.kernel[i]; ++k)
      if (const int64_t at = start + k * w.dilations[i]; at >= 0 && at < n) t.tap(at, weight);
    t.end();
  }
  return t;
}
std::vector<AxisTable> window_tables(const PoolWindow& w, const Shape& x, bool average) {
  std::vector<AxisTable> tables;
  for (size_t i = 0; i < w.axes(); ++i)
    tables.push_back(window_table(w, i, static_cast<int64_t>(i) + 2, x[i + 2], average));
  return tables;
}

// MaxPoolIndices: of x[N, C, ...] the places of its maxima, as MaxUnpool reads them, counted over the whole
// tensor. IR attributes: kernel, strides, dilations, before, windows (3 numbers each), column_major.
std::vector<Type> infer_indices(const InferContext& c) {
  const Shape& x = c.input(0).shape;
  const std::vector<int64_t> windows = c.attributes().ints_at("windows");
  Shape y(x.begin(), x.begin() + 2);
  y.insert(y.end(), windows.end() - static_cast<std::ptrdiff_t>(x.size() - 2), windows.end());
  return {{DType::kI64, y}};
}
Prepared prepare_indices(const PrepareContext& c) {
  const Type x = c.input(0);
  kern::PoolIndicesArgs all{};
  all.dtype = x.dtype;
  all.column_major = c.attributes().int_at("column_major") != 0;
  const auto copy = [&](const char* name, int64_t(&to)[3]) {
    const std::vector<int64_t> list = c.attributes().ints_at(name);
    std::copy(list.begin(), list.end(), to);
  };
  copy("kernel", all.kernel);
  copy("strides", all.stride);
  copy("dilations", all.dilation);
  copy("before", all.before);
  copy("windows", all.windows);
  std::fill(all.size, all.size + 3, 1);
  std::copy(x.shape.begin() + 2, x.shape.end(), all.size + 3 - (x.shape.size() - 2));
  const int64_t image = all.size[0] * all.size[1] * all.size[2];
  const int64_t windows = all.windows[0] * all.windows[1] * all.windows[2];
  return {0, [=, images = x.shape[0] * x.shape[1]](const RunContext& r) {
            for_chunks(r.pool, row_chunks(images, image), [&](int64_t first, int64_t count) {
              for (int64_t i = first; i < first + count; ++i) {
                kern::PoolIndicesArgs a = all;
                a.x = at(r.in[0], i * image * size_bytes(a.dtype));
                a.y = static_cast<int64_t*>(r.out[0]) + i * windows;
                a.offset = i * image;
                kern::pool_indices(a);
              }
            });
          }};
}

ValueId add_indices(ImportContext& c, const PoolWindow& w, const Shape& x) {
  const size_t axes = w.axes();
  const auto three = [&](const std::vector<int64_t>& list, int64_t otherwise) {
    std::vector<int64_t> all(3, otherwise);
    std::copy_n(list.begin(), axes, all.begin() + static_cast<std::ptrdiff_t>(3 - axes));
    return all;
  };
  std::vector<int64_t> windows;
  for (size_t i = 0; i < axes; ++i) {
    windows.push_back(window_count(w, i, x[i + 2]));
    check_taps(w, i, x[i + 2], windows.back());
  }
  const int64_t order = c.attributes.int_or("storage_order", 0);
  return c.builder.add1("MaxPoolIndices", {c.inputs[0]},
                        {{"kernel", three(w.kernel, 1)},
                         {"strides", three(w.strides, 1)},
                         {"dilations", three(w.dilations, 1)},
                         {"before", three(w.pads, 0)},
                         {"windows", three(windows, 1)},
                         {"column_major", order}});
}

std::vector<ValueId> import_values(ImportContext& c);

std::vector<ValueId> import(ImportContext& c) {
  std::vector<ValueId> y = import_values(c);
  if (c.op_type == "MaxPool" && c.output_count > 1) {
    const Shape x = c.shape(0);
    y.push_back(add_indices(c, window_of(c, x), x));
  }
  return y;
}

std::vector<ValueId> import_values(ImportContext& c) {
  const bool max = c.op_type == "MaxPool";
  if (max) {
    check_attributes(c.attributes, {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads",
                                    "storage_order", "strides"});
  } else {
    check_attributes(c.attributes, {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads",
                                    "count_include_pad", "strides"});
  }
  const Shape x = c.shape(0);
  const PoolWindow w = window_of(c, x);
  Builder& b = c.builder;
  if (w.axes() < 3) {
    const Shape image{x[0], x[1], w.axes() == 1 ? 1 : x[2], x.back()};
    const ValueId in = b.transpose(b.reshape(c.inputs[0], image), {0, 2, 3, 1});
    const ValueId y = pool_image(b, c.op_type, in, w.axes() == 1 ? Step{} : step_of(w, 0),
                                 step_of(w, w.axes() - 1), w.ceil_mode, w.count_include_pad);
    const ValueId first = b.transpose(y, {0, 3, 1, 2});
    if (w.axes() == 2) return {first};
    return {b.reshape(first, {x[0], x[1], b.shape(first)[3]})};
  }
  if (!max) return {add_resample(b, c.inputs[0], window_tables(w, x, true))};
  const ValueId in = b.transpose(c.inputs[0], {0, 2, 3, 4, 1});
  const ValueId planes = pool_image(b, c.op_type, b.reshape(in, {x[0] * x[2], x[3], x[4], x[1]}),
                                    step_of(w, 1), step_of(w, 2), w.ceil_mode, false);
  const Shape s = b.shape(planes);
  const ValueId y = pool_image(b, c.op_type, b.reshape(planes, {x[0], x[2], s[1] * s[2], x[1]}),
                               step_of(w, 0), Step{}, w.ceil_mode, false);
  return {b.transpose(b.reshape(y, {x[0], b.shape(y)[1], s[1], s[2], x[1]}), {0, 4, 1, 2, 3})};
}

std::vector<ValueId> import_global_max(ImportContext& c) {
  check_attributes(c.attributes, {});
  const Shape x = c.shape(0);
  if (x.size() < 3) throw input_error("an input [N, C, ...] was expected, got {}", to_string(x));
  const int64_t all = elements(Shape(x.begin() + 2, x.end()));
  if (all < 1) throw input_error("there are no elements in {}", to_string(x));
  Builder& b = c.builder;
  const ValueId in = b.transpose(b.reshape(c.inputs[0], {x[0], x[1], all, 1}), {0, 2, 3, 1});
  const ValueId y = pool_image(b, "MaxPool", in, {all}, Step{}, false, false);
  Shape shape(x.size(), 1);
  shape[0] = x[0];
  shape[1] = x[1];
  return {b.reshape(y, shape)};
}

double exponent_of(const ImportContext& c) {
  const double p =
      c.opset < 2 ? c.attributes.float_or("p", 2) : static_cast<double>(c.attributes.int_or("p", 2));
  if (!(p >= 1)) throw input_error("p is {}, expected at least 1", p);
  return p;
}
ValueId power(Builder& b, ValueId x, double alpha) {
  return alpha == 1 ? x : b.add1("PowScalar", {x}, {{"alpha", alpha}, {"beta", 0.0}});
}
// |x|^p, summed by `sum`, then the root.
template <class Sum>
ValueId norm(Builder& b, ValueId x, double p, const Sum& sum) {
  const ValueId powers = power(b, p == 2 ? x : b.add1("Abs", {x}), p);
  const ValueId total = sum(powers);
  return p == 2 ? b.add1("Sqrt", {total}) : power(b, total, 1 / p);
}

std::vector<ValueId> import_lp(ImportContext& c) {
  if (c.opset < 18) {
    check_attributes(c.attributes, {"auto_pad", "kernel_shape", "p", "pads", "strides"});
  } else {
    check_attributes(c.attributes,
                     {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"});
  }
  const Shape x = c.shape(0);
  const PoolWindow w = window_of(c, x);
  return {norm(c.builder, c.inputs[0], exponent_of(c),
               [&](ValueId powers) { return add_resample(c.builder, powers, window_tables(w, x, false)); })};
}

std::vector<ValueId> import_global_lp(ImportContext& c) {
  check_attributes(c.attributes, {"p"});
  const Shape x = c.shape(0);
  if (x.size() < 3) throw input_error("an input [N, C, ...] was expected, got {}", to_string(x));
  std::vector<int64_t> axes;
  for (size_t i = 2; i < x.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  return {norm(c.builder, c.inputs[0], exponent_of(c), [&](ValueId powers) {
    return c.builder.add1("ReduceSum", {powers}, {{"axes", axes}, {"keepdims", int64_t{1}}});
  })};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("MaxPoolIndices", infer_indices, prepare_indices, NoGradient{"indices have no gradient"})},
      {{.op_type = "MaxPool", .since = 1, .until = 24, .import = import},
       {.op_type = "AveragePool", .since = 1, .until = 24, .import = import},
       {.op_type = "LpPool", .since = 1, .until = 24, .import = import_lp},
       {.op_type = "GlobalMaxPool", .since = 1, .until = 24, .import = import_global_max},
       {.op_type = "GlobalLpPool", .since = 1, .until = 24, .import = import_global_lp}},
  };
  return family;
}

}  // namespace halftone::ops::pool_import
