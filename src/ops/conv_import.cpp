// ONNX's convolutions, from those over images (conv.cpp).
//
// formula  Conv: conv.cpp's. ConvTranspose: the gradient of such a convolution by its input, y[n, i*s + k*d
//          - before, m] = sum over (i, k, c) of x[n, i, c] * w[c, m, k], + bias[m]
// gradient that of the nodes they become
// shapes   x[N, C, W], x[N, C, H, W] or x[N, C, D, H, W]. A sequence is an image of one row. With a kernel
//          of one plane, D joins N; with one of 1x1 a plane, H and W become one axis; else the planes that
//          a kernel meets become channels (Conv), or are added up where they meet (ConvTranspose), by a
//          Resample along D
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   conv.cpp's; ConvTranspose also before its bias, and over D, H, W before the planes are added
// saves    x and w, for the gradient
// scratch  of the nodes they become
// alias    none
// errors   other ranks; sizes, groups, pads that don't fit
// source   ONNX Conv-1/11/22, ConvTranspose-1/11/22
// tests    tests/ops/conv_test.cpp, tests/ops/conv_transpose_test.cpp
#include <algorithm>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/resample.h"
#include "tensor/permutation.h"

namespace halftone::ops::conv_import {
namespace {

using Ints = std::vector<int64_t>;

// What both read: one number an axis.
struct Window {
  Ints kernel, strides, dilations, before, after;
  int64_t group = 1;

  size_t axes() const { return kernel.size(); }
  int64_t reach(size_t i) const { return (kernel[i] - 1) * dilations[i] + 1; }
  // Whether it leaves axis i as it is.
  bool passes(size_t i) const { return kernel[i] == 1 && strides[i] == 1 && before[i] == 0 && after[i] == 0; }
};

Window window_of(const ImportContext& c, const Shape& x, const Shape& w) {
  const size_t axes = x.size() < 2 ? 0 : x.size() - 2;
  if (axes < 1 || axes > 3)
    throw input_error(
        "{} of an input of {} dimensions ({}) is not supported: only sequences (3), images (4) and volumes "
        "(5) are",
        c.op_type, x.size(), to_string(x));
  if (w.size() != x.size())
    throw input_error("x is {} and w {}: they must have the same rank", to_string(x), to_string(w));
  constexpr int64_t kLargest = int64_t{1} << 31;  // keeps every index far from overflow
  for (const Shape* s : {&x, &w})
    for (const int64_t d : *s) {
      if (d < 1) throw input_error("a dimension of {} is less than 1", to_string(*s));
      if (d > kLargest) throw input_error("sizes beyond 2^31 are not supported: {}", to_string(*s));
    }
  Window out;
  out.kernel.assign(w.begin() + 2, w.end());
  if (c.attributes.ints_or("kernel_shape", out.kernel) != out.kernel)
    throw input_error("kernel_shape is {}, but w is {}", to_string(c.attributes.ints_at("kernel_shape")),
                      to_string(w));
  const Ints ones(axes, 1);
  out.strides = c.attributes.ints_or("strides", ones);
  out.dilations = c.attributes.ints_or("dilations", ones);
  if (out.strides.size() != axes || out.dilations.size() != axes)
    throw input_error("strides has {} and dilations {} numbers, expected {}", out.strides.size(),
                      out.dilations.size(), axes);
  for (size_t i = 0; i < axes; ++i)
    for (const auto& [name, list] :
         {std::pair{"strides", &out.strides}, std::pair{"dilations", &out.dilations}}) {
      if ((*list)[i] < 1) throw input_error("{} {} has a number below 1", name, to_string(*list));
      if ((*list)[i] > kLargest)
        throw input_error("sizes beyond 2^31 are not supported: {} {}", name, to_string(*list));
    }
  for (size_t i = 0; i < axes; ++i)
    if (out.reach(i) > int64_t{1} << 40)
      throw input_error("a kernel of {} with dilations {} reaches over {} elements", to_string(w),
                        to_string(out.dilations), out.reach(i));
  out.before.assign(axes, 0);
  out.after.assign(axes, 0);
  out.group = c.attributes.int_or("group", 1);
  return out;
}

// auto_pad; NOTSET with the pads that are given.
std::string read_pads(const ImportContext& c, Window& w) {
  const std::string mode = c.attributes.string_or("auto_pad", "NOTSET");
  if (mode != "NOTSET" && mode != "SAME_UPPER" && mode != "SAME_LOWER" && mode != "VALID")
    throw input_error("auto_pad is {}, expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", mode);
  if (mode != "NOTSET") return mode;
  const Ints pads = c.attributes.ints_or("pads", Ints(2 * w.axes(), 0));
  if (pads.size() != 2 * w.axes())
    throw input_error("pads has {} numbers, expected {}", pads.size(), 2 * w.axes());
  for (const int64_t pad : pads) {
    if (pad < 0) throw input_error("pads {} has a negative number, which is not supported", to_string(pads));
    if (pad > int64_t{1} << 31)
      throw input_error("sizes beyond 2^31 are not supported: pads {}", to_string(pads));
  }
  for (size_t i = 0; i < w.axes(); ++i) {
    w.before[i] = pads[i];
    w.after[i] = pads[i + w.axes()];
  }
  return mode;
}

// Attributes of a convolution over the axes h and v of the window; -1: an axis of size 1.
Attributes image_attributes(const Window& w, int h, int v) {
  const auto of = [](const Ints& list, int i, int64_t none) {
    return i < 0 ? none : list[static_cast<size_t>(i)];
  };
  return {{"pads", Ints{of(w.before, h, 0), of(w.before, v, 0), of(w.after, h, 0), of(w.after, v, 0)}},
          {"strides", Ints{of(w.strides, h, 1), of(w.strides, v, 1)}},
          {"dilations", Ints{of(w.dilations, h, 1), of(w.dilations, v, 1)}},
          {"group", w.group}};
}

// Element o * kernel + k is what tap k of place o meets along axis i of n elements, 0 in the padding.
AxisTable unfolding(const Window& w, size_t i, int64_t n, int64_t places) {
  AxisTable t;
  t.axis = 1;
  for (int64_t o = 0; o < places; ++o)
    for (int64_t k = 0; k < w.kernel[i]; ++k) {
      const int64_t at = o * w.strides[i] + k * w.dilations[i] - w.before[i];
      if (at >= 0 && at < n) t.tap(at, 1);
      t.end();
    }
  return t;
}
// The reverse: element `at` of n is the sum of all taps that meet it.
AxisTable folding(const Window& w, size_t i, int64_t n, int64_t places) {
  std::vector<Ints> meet(static_cast<size_t>(n));
  for (int64_t o = 0; o < places; ++o)
    for (int64_t k = 0; k < w.kernel[i]; ++k) {
      const int64_t at = o * w.strides[i] + k * w.dilations[i] - w.before[i];
      if (at >= 0 && at < n) meet[static_cast<size_t>(at)].push_back(o * w.kernel[i] + k);
    }
  AxisTable t;
  t.axis = 1;
  for (const Ints& list : meet) {
    for (const int64_t index : list) t.tap(index, 1);
    t.end();
  }
  return t;
}

// w[O, C, KD, KH, KW] as [O, KH, KW, KD * C]: with the planes as channels.
ValueId planes_as_channels(Builder& b, ValueId w) {
  const Shape s = b.shape(w);
  return b.reshape(b.transpose(w, {0, 3, 4, 2, 1}), {s[0], s[3], s[4], s[2] * s[1]});
}

// ---------------------------------------------------------------- Conv

// x[N, D, H, W, C]
ValueId conv_volume(ImportContext& c, const Window& w, ValueId x, const Shape& kernel) {
  Builder& b = c.builder;
  const Shape s = b.shape(x);
  const auto run = [&](ValueId image, ValueId weight, int h, int v) {
    std::vector<ValueId> inputs{image, weight};
    if (c.has(2)) inputs.push_back(c.inputs[2]);
    return b.add1("Conv", std::move(inputs), image_attributes(w, h, v));
  };
  if (w.passes(0)) {
    const ValueId weight =
        b.reshape(b.transpose(c.inputs[1], {0, 2, 3, 4, 1}), {kernel[0], kernel[3], kernel[4], kernel[1]});
    const ValueId y = run(b.reshape(x, {s[0] * s[1], s[2], s[3], s[4]}), weight, 1, 2);
    const Shape o = b.shape(y);
    return b.reshape(y, {s[0], s[1], o[1], o[2], o[3]});
  }
  if (w.passes(1) && w.passes(2)) {
    const ValueId weight =
        b.reshape(b.transpose(c.inputs[1], {0, 2, 3, 4, 1}), {kernel[0], kernel[2], 1, kernel[1]});
    const ValueId y = run(b.reshape(x, {s[0], s[1], s[2] * s[3], s[4]}), weight, 0, -1);
    const Shape o = b.shape(y);
    return b.reshape(y, {s[0], o[1], s[2], s[3], o[3]});
  }
  const int64_t padded = s[1] + w.before[0] + w.after[0];
  if (w.reach(0) > padded)
    throw input_error("the kernel reaches over {} planes, more than the padded volume's {}", w.reach(0),
                      padded);
  if (w.group < 1 || s[4] % w.group != 0)
    throw input_error("group {} does not divide {} input channels", w.group, s[4]);
  const int64_t places = (padded - w.reach(0)) / w.strides[0] + 1;
  const int64_t kd = kernel[2];
  check_table(2, static_cast<double>(places) * static_cast<double>(kd));
  const int64_t each = s[4] / w.group;
  const ValueId planes = add_resample(b, x, {unfolding(w, 0, s[1], places)});
  const ValueId split = b.reshape(planes, {s[0] * places, kd, s[2] * s[3], w.group, each});
  const ValueId image =
      b.reshape(b.transpose(split, {0, 2, 3, 1, 4}), {s[0] * places, s[2], s[3], kd * s[4]});
  const ValueId y = run(image, planes_as_channels(b, c.inputs[1]), 1, 2);
  const Shape o = b.shape(y);
  return b.reshape(y, {s[0], places, o[1], o[2], o[3]});
}

std::vector<ValueId> import_conv(ImportContext& c) {
  check_attributes(c.attributes, {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"});
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  const Shape kernel = c.shape(1);
  Window w = window_of(c, x, kernel);
  const std::string mode = read_pads(c, w);
  if (mode == "SAME_UPPER" || mode == "SAME_LOWER")
    for (size_t i = 0; i < w.axes(); ++i) {
      const int64_t size = (x[i + 2] + w.strides[i] - 1) / w.strides[i];
      const int64_t total = std::max<int64_t>(0, (size - 1) * w.strides[i] + w.reach(i) - x[i + 2]);
      const int64_t less = total / 2;
      w.before[i] = mode == "SAME_UPPER" ? less : total - less;
      w.after[i] = total - w.before[i];
    }
  const Ints last = channels_last(x.size());
  ValueId x_last = b.transpose(c.inputs[0], last);
  if (w.axes() == 3) return {b.transpose(conv_volume(c, w, x_last, kernel), inverse(last))};
  ValueId w_last = b.transpose(c.inputs[1], last);
  if (w.axes() == 1) {
    x_last = b.reshape(x_last, {x[0], 1, x[2], x[1]});
    w_last = b.reshape(w_last, {kernel[0], 1, kernel[2], kernel[1]});
  }
  std::vector<ValueId> inputs = {x_last, w_last};
  if (c.has(2)) inputs.push_back(c.inputs[2]);
  ValueId y = b.add1("Conv", std::move(inputs),
                     w.axes() == 1 ? image_attributes(w, -1, 0) : image_attributes(w, 0, 1));
  if (w.axes() == 1) {
    const Shape& s = b.shape(y);
    y = b.reshape(y, Shape{s[0], s[2], s[3]});
  }
  return {b.transpose(y, inverse(last))};
}

// ---------------------------------------------------------------- ConvTranspose

// Sizes of the result, and the pads that give them.
Shape transposed_sizes(const ImportContext& c, const Shape& x, Window& w) {
  const std::string mode = read_pads(c, w);
  const size_t axes = w.axes();
  const Ints extra = c.attributes.ints_or("output_padding", Ints(axes, 0));
  if (extra.size() != axes)
    throw input_error("output_padding has {} numbers, expected {}", extra.size(), axes);
  const Ints wanted = c.attributes.ints_or("output_shape", {});
  if (!wanted.empty() && wanted.size() != axes)
    throw input_error("output_shape has {} numbers, expected {}", wanted.size(), axes);
  Shape sizes(axes);
  for (size_t i = 0; i < axes; ++i) {
    if (extra[i] < 0 || extra[i] > (int64_t{1} << 31))
      throw input_error("output_padding has the value {}", extra[i]);
    const int64_t all = w.strides[i] * (x[i + 2] - 1) + w.reach(i) + extra[i];
    const bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
    if (wanted.empty() && !same) {
      sizes[i] = all - w.before[i] - w.after[i];
    } else {
      sizes[i] = wanted.empty() ? x[i + 2] * w.strides[i] : wanted[i];
      if (sizes[i] < 1) throw input_error("output_shape {} has a number below 1", to_string(wanted));
      const int64_t total = std::max<int64_t>(0, all - sizes[i]);
      w.before[i] = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.after[i] = total - w.before[i];
    }
    if (sizes[i] < 1 || sizes[i] > (int64_t{1} << 31))
      throw input_error("axis {} of the result would have {} elements", i + 2, sizes[i]);
  }
  return sizes;
}

// Transposed convolution of x[N, H, W, C] by weight[C, KH, KW, M / group] into h by v pixels; axes as for
// image_attributes.
ValueId transposed_image(Builder& b, const Window& w, ValueId x, ValueId weight, int h, int v, int64_t rows,
                         int64_t columns, int64_t channels) {
  const Shape s = b.shape(x);
  // As many pixels as a convolution that gives x may have; beyond them is 0.
  Window exact = w;
  int64_t sizes[2] = {rows, columns};
  for (const int i : {0, 1}) {
    const int axis = i == 0 ? h : v;
    if (axis < 0) continue;
    const auto a = static_cast<size_t>(axis);
    const int64_t all = w.strides[a] * (s[static_cast<size_t>(i) + 1] - 1) + w.reach(a);
    sizes[i] = std::min(sizes[i], all - w.before[a] + w.strides[a] - 1);
    if (sizes[i] < 1) throw input_error("pads {} cut everything that axis {} has", w.before[a], axis + 2);
    exact.after[a] = std::max<int64_t>(0, all - w.before[a] - sizes[i]);
  }
  Attributes attributes = image_attributes(exact, h, v);
  const Shape shape{s[0], sizes[0], sizes[1], channels};
  attributes.set("shape", shape);
  const ValueId y = b.add1("ConvGradInput", {x, weight}, std::move(attributes));
  const Shape full{s[0], rows, columns, channels};
  if (full == shape) return y;
  return b.add1("Pad", {y}, {{"shape", full}, {"starts", Ints(4, 0)}, {"steps", Ints(4, 1)}, {"value", 0.0}});
}

// x[N, D, H, W, C]
ValueId transposed_volume(ImportContext& c, const Window& w, ValueId x, const Shape& kernel,
                          const Shape& sizes) {
  Builder& b = c.builder;
  const Shape s = b.shape(x);
  const int64_t each = kernel[1];
  const int64_t kd = kernel[2];
  const int64_t channels = each * w.group;
  check_table(2, static_cast<double>(std::max(s[1], sizes[0])) * static_cast<double>(kd));
  const ValueId images =
      transposed_image(b, w, b.reshape(x, {s[0] * s[1], s[2], s[3], s[4]}),
                       planes_as_channels(b, c.inputs[1]), 1, 2, sizes[1], sizes[2], kd * channels);
  const int64_t pixels = sizes[1] * sizes[2];
  const ValueId split = b.reshape(images, {s[0], s[1], pixels, w.group, kd, each});
  const ValueId planes =
      b.reshape(b.transpose(split, {0, 1, 4, 2, 3, 5}), {s[0], s[1] * kd, pixels * channels});
  const ValueId y = add_resample(b, planes, {folding(w, 0, sizes[0], s[1])});
  return b.reshape(y, {s[0], sizes[0], sizes[1], sizes[2], channels});
}

std::vector<ValueId> import_conv_transpose(ImportContext& c) {
  check_attributes(c.attributes, {"auto_pad", "dilations", "group", "kernel_shape", "output_padding",
                                  "output_shape", "pads", "strides"});
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  const Shape kernel = c.shape(1);
  Window w = window_of(c, x, kernel);
  if (x[1] != kernel[0])
    throw input_error("x {} has {} channels, but w {} wants {}", to_string(x), x[1], to_string(kernel),
                      kernel[0]);
  if (w.group < 1 || x[1] % w.group != 0)
    throw input_error("group {} does not divide {} input channels", w.group, x[1]);
  const int64_t channels = kernel[1] * w.group;
  if (c.has(2) && c.shape(2) != Shape{channels})
    throw input_error("bias has shape {}, expected {}", to_string(c.shape(2)), channels);
  const Shape sizes = transposed_sizes(c, x, w);
  const Ints last = channels_last(x.size());
  ValueId y = b.transpose(c.inputs[0], last);
  if (w.axes() == 3) {
    y = transposed_volume(c, w, y, kernel, sizes);
  } else {
    ValueId weight = b.transpose(c.inputs[1], last);
    if (w.axes() == 1) {
      y = b.reshape(y, {x[0], 1, x[2], x[1]});
      weight = b.reshape(weight, {kernel[0], 1, kernel[2], kernel[1]});
      y = b.reshape(transposed_image(b, w, y, weight, -1, 0, 1, sizes[0], channels),
                    {x[0], sizes[0], channels});
    } else {
      y = transposed_image(b, w, y, weight, 0, 1, sizes[0], sizes[1], channels);
    }
  }
  if (c.has(2)) y = b.add1("Add", {y, c.inputs[2]});
  return {b.transpose(y, inverse(last))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "Conv", .since = 1, .until = 24, .import = import_conv, .required_inputs = 2},
       {.op_type = "ConvTranspose",
        .since = 1,
        .until = 24,
        .import = import_conv_transpose,
        .required_inputs = 2}},
  };
  return family;
}

}  // namespace halftone::ops::conv_import
