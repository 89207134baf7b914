// Conv, channels last.
//
// formula  y[n,oh,ow,o] = sum over (kh,kw,c) of x[n, oh*sh+kh*dh-top, ow*sw+kw*dw-left, c] * w[o,kh,kw,c], +
//          bias[o]
// shapes   x[N,H,W,C], w[O,KH,KW,C/group], bias[O] (optional) -> y[N,OH,OW,O],  OH = (H + top + bottom -
//          dh*(KH-1) - 1) / sh + 1
// dtypes   fp16 bf16 fp32; double in the reference
// rounds   once, when y is stored. wide: one chain of fma in fp32 over (kh,kw,c), then + bias. block: x has a
//          scale for each image (and group), w one for each output channel; 64 channel pairs at a time are
//          summed exactly; half: the same pairs, in two fp16 sums (kern/matrix.h has every detail). Depthwise
//          convolutions (C = group) are wide under every policy.
// saves    x and w, for the gradient
// scratch  packed weights, and an image and a tile for each thread
// alias    none
// errors   ranks, channels, groups that don't fit; a kernel larger than the padded image; negative pads;
//          strides, dilations below 1
// source   ONNX Conv, ConvTranspose (conv_import.cpp)
// tests    tests/ops/conv_test.cpp
//
// ConvGradInput: dx from dy[N,OH,OW,O] and w[O,KH,KW,C/group], shape in the attribute `shape`. block: dy has
// a scale for each image
//   (and group), w one for each input channel; K is (kh descending, kw descending, o) over the taps that meet
//   the pixel's stride phase.
// ConvGradWeight: dw from x and dy, kernel size in the attribute `kernel`. block: x and dy have a scale for
// each
//   image (for small images: for as many as have 128 pixels), up to 128 pixels are summed exactly; images are
//   divided into at most 8 groups, added in order.
// ConvGradInput is also the transposed convolution, and has a gradient; nothing trains through
// ConvGradWeight.
#include "base/error.h"
#include "ops/op.h"
#include "ops/product.h"

namespace halftone::ops::conv {
namespace {

using kern::ConvGeometry;
using kern::ProductKind;

// pads: top, left, bottom, right.
struct Window {
  std::vector<int64_t> pads, strides, dilations;
  int64_t group;
};
Window window_of(const Attributes& attributes) {
  Window w{attributes.ints_or("pads", {0, 0, 0, 0}), attributes.ints_or("strides", {1, 1}),
           attributes.ints_or("dilations", {1, 1}), attributes.int_or("group", 1)};
  HT_ASSERT(w.pads.size() == 4 && w.strides.size() == 2 && w.dilations.size() == 2);
  return w;
}

// Output size along one axis; the caller has checked that all sizes are positive.
int64_t output_size(int64_t x, int64_t kernel, int64_t before, int64_t after, int64_t stride,
                    int64_t dilation) {
  return (x + before + after - dilation * (kernel - 1) - 1) / stride + 1;
}

ConvGeometry geometry_of(const Window& w, const Shape& x, const Shape& kernel, const Shape& y) {
  return {x[0],           x[1],      x[2],      x[3],         y[1],         y[2],
          y[3],           kernel[1], kernel[2], w.strides[0], w.strides[1], w.dilations[0],
          w.dilations[1], w.pads[0], w.pads[1], w.group};
}

std::vector<Type> infer(const InferContext& c) {
  check_operands(c);
  const Shape& x = c.input(0).shape;
  const Shape& w = c.input(1).shape;
  const Window window = window_of(c.attributes());
  if (x.size() != 4 || w.size() != 4)
    throw input_error("x must be NxHxWxC and w OxKHxKWxC, got {} and {}", to_string(x), to_string(w));
  for (const Shape* s : {&x, &w})
    for (const int64_t d : *s)
      if (d < 1) throw input_error("a dimension of {} is less than 1", to_string(*s));
  if (window.group < 1 || x[3] % window.group != 0 || w[0] % window.group != 0)
    throw input_error("group {} does not divide {} input and {} output channels", window.group, x[3], w[0]);
  if (w[3] * window.group != x[3])
    throw input_error("x {} (NxHxWxC) has {} channels, but w {} (OxKHxKWxC) with group {} wants {}",
                      to_string(x), x[3], to_string(w), window.group, w[3] * window.group);
  if (c.has(2) && c.input(2).shape != Shape{w[0]})
    throw input_error("bias has shape {}, expected {}", to_string(c.input(2).shape), w[0]);
  Shape y{x[0], 0, 0, w[0]};
  for (size_t i = 0; i < 2; ++i) {
    const int64_t before = window.pads[i];
    const int64_t after = window.pads[i + 2];
    if (before < 0 || after < 0)
      throw input_error("pads {} has a negative number, which is not supported", to_string(window.pads));
    if (window.strides[i] < 1)
      throw input_error("strides {} has a number below 1", to_string(window.strides));
    if (window.dilations[i] < 1)
      throw input_error("dilations {} has a number below 1", to_string(window.dilations));
    // Bounds that keep every index far from overflow.
    constexpr int64_t kLargest = int64_t{1} << 31;
    if (before > kLargest || after > kLargest || window.dilations[i] > kLargest ||
        window.strides[i] > kLargest || x[i + 1] > kLargest || w[i + 1] > kLargest)
      throw input_error(
          "sizes beyond 2^31 are not supported: x {}, kernel {}, pads {}, strides {}, dilations {}",
          to_string(x), to_string(w), to_string(window.pads), to_string(window.strides),
          to_string(window.dilations));
    const int64_t reach = (w[i + 1] - 1) * window.dilations[i] + 1;
    if (reach > x[i + 1] + before + after)
      throw input_error(
          "the kernel reaches over {} {}, more than the padded image's {} (x {}, kernel {}, pads {}, "
          "dilations {})",
          reach, i == 0 ? "rows" : "columns", x[i + 1] + before + after, to_string(x), to_string(w),
          to_string(window.pads), to_string(window.dilations));
    y[i + 1] = output_size(x[i + 1], w[i + 1], before, after, window.strides[i], window.dilations[i]);
  }
  return {{c.input(0).dtype, y}};
}

std::vector<Type> infer_grad_input(const InferContext& c) {
  check_operands(c);
  return {{c.input(0).dtype, c.attributes().ints_at("shape")}};
}

std::vector<Type> infer_grad_weight(const InferContext& c) {
  check_operands(c);
  const Shape& x = c.input(0).shape;
  const std::vector<int64_t>& kernel = c.attributes().ints_at("kernel");
  const Window window = window_of(c.attributes());
  return {{c.input(0).dtype, {c.input(1).shape[3], kernel[0], kernel[1], x[3] / window.group}}};
}

Prepared prepare(const PrepareContext& c) {
  const ConvGeometry g =
      geometry_of(window_of(c.attributes()), c.input(0).shape, c.input(1).shape, c.output(0).shape);
  return prepare_product(c, conv_product(ProductKind::kConv, c.output(0).dtype, c.multiply, c.has(2), g),
                         {0, 1, c.has(2) ? 2 : -1});
}
Prepared prepare_grad_input(const PrepareContext& c) {
  const ConvGeometry g =
      geometry_of(window_of(c.attributes()), c.output(0).shape, c.input(1).shape, c.input(0).shape);
  return prepare_product(
      c, conv_product(ProductKind::kConvGradInput, c.output(0).dtype, c.multiply, false, g), {0, 1, -1});
}
Prepared prepare_grad_weight(const PrepareContext& c) {
  const ConvGeometry g =
      geometry_of(window_of(c.attributes()), c.input(0).shape, c.output(0).shape, c.input(1).shape);
  return prepare_product(
      c, conv_product(ProductKind::kConvGradWeight, c.output(0).dtype, c.multiply, false, g), {0, 1, -1});
}

std::vector<ValueId> gradient(GradientContext& c) {
  Builder& b = c.builder;
  const ValueId dy = c.dy[0];
  std::vector<ValueId> d(c.node.inputs.size(), kNone);
  // x is often read here for the last time: its memory is free for dx then.
  if (c.needs[1]) {
    Attributes attributes = c.node.attributes;
    const Shape& w = b.shape(c.x(1));
    attributes.set("kernel", std::vector<int64_t>{w[1], w[2]});
    d[1] = b.add1("ConvGradWeight", {c.x(0), dy}, std::move(attributes));
  }
  if (c.has(2) && c.needs[2]) d[2] = b.sum_to(dy, b.shape(c.x(2)));
  if (c.needs[0]) {
    Attributes attributes = c.node.attributes;
    attributes.set("shape", b.shape(c.x(0)));
    d[0] = b.add1("ConvGradInput", {dy, c.x(1)}, std::move(attributes));
  }
  return d;
}

// dx of a convolution is a transposed convolution of dy: its gradients are a convolution and its weight's
// gradient, with the parts of x and dy exchanged.
std::vector<ValueId> gradient_grad_input(GradientContext& c) {
  Builder& b = c.builder;
  Attributes attributes = c.node.attributes;
  attributes.erase("shape");
  std::vector<ValueId> d(2, kNone);
  if (c.needs[1]) {
    const Shape& w = b.shape(c.x(1));
    Attributes with_kernel = attributes;
    with_kernel.set("kernel", std::vector<int64_t>{w[1], w[2]});
    d[1] = b.add1("ConvGradWeight", {c.dy[0], c.x(0)}, std::move(with_kernel));
  }
  if (c.needs[0]) d[0] = b.add1("Conv", {c.dy[0], c.x(1)}, std::move(attributes));
  return d;
}

constexpr std::string_view kReason = "is itself a gradient; second derivatives are not trained";

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {
          OpDef("Conv", infer, prepare, GradientRule{gradient}),
          OpDef("ConvGradInput", infer_grad_input, prepare_grad_input, GradientRule{gradient_grad_input}),
          OpDef("ConvGradWeight", infer_grad_weight, prepare_grad_weight, NoGradient{kReason}),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops::conv
