// MaxPool and AveragePool, channels last.
//
// formula  MaxPool: y = max over the window's valid taps, a NaN wins; AveragePool: sum over the window's
//          taps, in (kh, kw) order, times 1 / count (count: the valid taps; with count_include_pad also those
//          in the padding, but not beyond it)
// gradient MaxPool: to the first tap in (kh, kw) order that equals the maximum (kink: ties); AveragePool:
//          equal shares
// shapes   x[N, H, W, C] -> y[N, OH, OW, C], OH = floor or ceil((H + top + bottom - ((kh - 1) dh + 1)) / sh)
//          + 1; with ceil a window that would start in the bottom padding is dropped
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when stored; gradient sums in registers
// saves    MaxPool: x
// scratch  gradients: H * W * C numbers of the register type a thread
// alias    none
// errors   a rank other than 4; a window without a valid tap (its count would be 0)
// source   ONNX MaxPool, AveragePool (pool_import.cpp)
// tests    tests/ops/pool_test.cpp
#include "base/error.h"
#include "ops/chunks.h"
#include "ops/op.h"
#include "ops/pool_window.h"

namespace halftone::ops::pool {
namespace {

// IR attributes: kernel, strides, dilations (h, w), pads (top, left, bottom, right), ceil_mode,
// count_include_pad (AveragePool only).
PoolWindow window_of(const Attributes& a) {
  return {a.ints_at("kernel"), a.ints_at("strides"),       a.ints_at("dilations"),
          a.ints_at("pads"),   a.int_at("ceil_mode") != 0, a.int_or("count_include_pad", 0) != 0};
}

kern::PoolGeometry geometry(const Attributes& attributes, const Shape& x, const Shape& y) {
  const PoolWindow w = window_of(attributes);
  return {x[1],         x[2],           x[3],           y[1],
          y[2],         w.kernel[0],    w.kernel[1],    w.strides[0],
          w.strides[1], w.dilations[0], w.dilations[1], w.pads[0],
          w.pads[1],    w.pads[2],      w.pads[3],      w.count_include_pad};
}

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  if (x.shape.size() != 4)
    throw input_error("an input [N, H, W, C] was expected, got {}", to_string(x.shape));
  const PoolWindow w = window_of(c.attributes());
  Type y = x;
  for (size_t axis = 0; axis < 2; ++axis) {
    y.shape[axis + 1] = window_count(w, axis, x.shape[axis + 1]);
    check_taps(w, axis, x.shape[axis + 1], y.shape[axis + 1]);
  }
  return {y};
}

Prepared prepare(const PrepareContext& c) {
  const Type& x = c.input(0);
  const Type& y = c.output(0);
  const kern::PoolGeometry g = geometry(c.attributes(), x.shape, y.shape);
  const int64_t width = size_bytes(x.dtype);
  const int64_t rows =
      std::min(g.oh, std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, g.ow * g.c)));
  const int64_t bands = rows > 0 ? ceil_div(g.oh, rows) : 0;
  const auto kernel = c.node.op == "MaxPool" ? c.kernels.max_pool : c.kernels.average_pool;
  return {
      0, [=, images = x.shape[0], dtype = x.dtype](const RunContext& r) {
        run_chunks(r.pool, images * bands, [&](int64_t chunk, int) {
          const int64_t image = chunk / bands;
          const int64_t first = chunk % bands * rows;
          kernel({dtype, at(r.in[0], image * g.h * g.w * g.c * width),
                  at(r.out[0], image * g.oh * g.ow * g.c * width), g, first, std::min(g.oh, first + rows)});
        });
      }};
}

std::vector<ValueId> gradient_max(GradientContext& c) {
  return {c.builder.add1("MaxPoolGrad", {c.dy[0], c.x(0)}, c.node.attributes)};
}
std::vector<ValueId> gradient_average(GradientContext& c) {
  Attributes attributes = c.node.attributes;
  attributes.set("shape", c.builder.shape(c.x(0)));
  return {c.builder.add1("AveragePoolGrad", {c.dy[0]}, attributes)};
}

// MaxPoolGrad(dy, x) -> dx; AveragePoolGrad(dy) -> dx with x's shape as an attribute
std::vector<Type> infer_grad(const InferContext& c) {
  if (c.node.op == "MaxPoolGrad") return {c.input(1)};
  return {{c.input(0).dtype, c.attributes().ints_at("shape")}};
}

Prepared prepare_grad(const PrepareContext& c) {
  const Type& dx = c.output(0);
  const kern::PoolGeometry g = geometry(c.attributes(), dx.shape, c.input(0).shape);
  const int64_t width = size_bytes(dx.dtype);
  const int64_t x_bytes = g.h * g.w * g.c * width;
  const int64_t y_bytes = g.oh * g.ow * g.c * width;
  const int64_t scratch = aligned_bytes(g.h * g.w * g.c * size_bytes(register_type(dx.dtype)));
  const bool max = c.node.op == "MaxPoolGrad";
  const auto kernel = max ? c.kernels.max_pool_grad : c.kernels.average_pool_grad;
  return {scratch * c.threads, [=, images = dx.shape[0], dtype = dx.dtype](const RunContext& r) {
            run_chunks(r.pool, images, [&](int64_t image, int worker) {
              kernel({dtype, max ? at(r.in[1], image * x_bytes) : nullptr, at(r.in[0], image * y_bytes),
                      at(r.out[0], image * x_bytes), r.scratch + worker * scratch, g});
            });
          }};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("MaxPool", infer, prepare, GradientRule{gradient_max}),
       OpDef("MaxPoolGrad", infer_grad, prepare_grad, NoGradient{"second derivatives are not computed"}),
       OpDef("AveragePool", infer, prepare, GradientRule{gradient_average}),
       OpDef("AveragePoolGrad", infer_grad, prepare_grad, NoGradient{"second derivatives are not computed"})},
      {},
  };
  return family;
}

}  // namespace halftone::ops::pool
