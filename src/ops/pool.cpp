// MaxPool and AveragePool, channels last.
//
// formula  MaxPool: y = max over the window's valid taps, a NaN wins; AveragePool: sum over the window's
//          taps, in (kh, kw) order, times 1 / count (count: the valid taps; with count_include_pad also those
//          in the padding, but not beyond it)
// gradient MaxPool: to the first tap in (kh, kw) order that equals the maximum (kink: ties); AveragePool:
//          equal shares
// shapes   x[N, H, W, C] -> y[N, OH, OW, C], OH = floor or ceil((H + top + bottom - ((kh - 1) dh + 1)) / sh)
//          + 1; with ceil a window that would start in the bottom padding is dropped. ONNX's x[N, C, H, W] is
//          transposed around it; x[N, C, W] has H = 1
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when stored; gradient sums in registers
// saves    MaxPool: x
// scratch  gradients: H * W * C numbers of the register type a thread
// alias    none
// errors   rank other than 3 or 4; a window without a valid tap (its count would be 0); the output Indices
// source   ONNX MaxPool-1/8/10/11/12/22, AveragePool-1/7/10/11/19/22
// tests    tests/ops/pool_test.cpp
#include "base/error.h"
#include "ops/chunks.h"
#include "ops/families.h"
#include "ops/fold.h"

namespace halftone::ops {
namespace {

// IR attributes: kernel, strides, dilations (h, w), pads (top, left, bottom, right), ceil_mode,
// count_include_pad (AveragePool only).
struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads;
  bool ceil_mode;
  bool count_include_pad;
};

Window window_of(const Attributes& a) {
  return {a.ints_at("kernel"), a.ints_at("strides"),       a.ints_at("dilations"),
          a.ints_at("pads"),   a.int_at("ceil_mode") != 0, a.int_or("count_include_pad", 0) != 0};
}

// The number of windows along an axis of n elements.
int64_t window_count(const Window& w, size_t axis, int64_t n) {
  const int64_t before = w.pads[axis];
  const int64_t span = (w.kernel[axis] - 1) * w.dilations[axis] + 1;
  const int64_t room = n + before + w.pads[axis + 2] - span;
  if (room < 0)
    throw input_error("a window of {} does not fit an axis of {} padded by {} and {}", span, n, before,
                      w.pads[axis + 2]);
  int64_t count = (w.ceil_mode ? ceil_div(room, w.strides[axis]) : room / w.strides[axis]) + 1;
  if (w.ceil_mode && (count - 1) * w.strides[axis] >= n + before) --count;
  return count;
}

// Every window needs a tap inside the tensor. One whose first tap is inside has it: only those that start in the
// padding before, and the last one, need a look (an axis can be long).
void check_taps(const Window& w, size_t axis, int64_t n, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (i * w.strides[axis] >= w.pads[axis]) i = count - 1;
    const int64_t first = i * w.strides[axis] - w.pads[axis];
    const int64_t d = w.dilations[axis];
    const int64_t skipped = first < 0 ? ceil_div(-first, d) : 0;  // taps before the tensor
    if (skipped >= w.kernel[axis] || first + skipped * d >= n)
      throw input_error(
          "window {} along an axis of {} lies in the padding (kernel {}, stride {}, pads {} and {}, dilation "
          "{})",
          i, n, w.kernel[axis], w.strides[axis], w.pads[axis], w.pads[axis + 2], d);
  }
}

kern::PoolGeometry geometry(const Attributes& attributes, const Shape& x, const Shape& y) {
  const Window w = window_of(attributes);
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
  const Window w = window_of(c.attributes());
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

// ---------------------------------------------------------------- from ONNX

// One number for each spatial axis, with a 1 (0 for pads) for the H that [N, C, W] has not.
std::vector<int64_t> spatial(const Attributes& a, const char* name, size_t count, int64_t otherwise,
                             int64_t low) {
  std::vector<int64_t> list = a.ints_or(name, std::vector<int64_t>(count, otherwise));
  if (list.size() != count) throw input_error("{} has {} numbers, expected {}", name, list.size(), count);
  constexpr int64_t kLimit = int64_t{1} << 24;  // products of two fit easily
  for (const int64_t v : list)
    if (v < low || v > kLimit) throw input_error("{} has the value {}", name, v);
  return list;
}

std::vector<ValueId> import(ImportContext& c) {
  const bool max = c.op_type == "MaxPool";
  if (max) {
    check_attributes(c.attributes, {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads",
                                    "storage_order", "strides"});
    if (c.output_count > 1)
      throw input_error("the second output (Indices) is not supported: nothing that trains reads it");
  } else {
    check_attributes(c.attributes, {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads",
                                    "count_include_pad", "strides"});
  }
  const Shape x = c.shape(0);
  if (x.size() != 3 && x.size() != 4)
    throw input_error("an input [N, C, W] or [N, C, H, W] was expected, got {}", to_string(x));
  const size_t spatial_rank = x.size() - 2;
  if (!c.attributes.has("kernel_shape")) throw input_error("kernel_shape is missing");
  Window w{spatial(c.attributes, "kernel_shape", spatial_rank, 1, 1),
           spatial(c.attributes, "strides", spatial_rank, 1, 1),
           spatial(c.attributes, "dilations", spatial_rank, 1, 1),
           spatial(c.attributes, "pads", 2 * spatial_rank, 0, 0),
           c.attributes.int_or("ceil_mode", 0) != 0,
           c.attributes.int_or("count_include_pad", 0) != 0};
  if (spatial_rank == 1) {
    w.kernel.insert(w.kernel.begin(), 1);
    w.strides.insert(w.strides.begin(), 1);
    w.dilations.insert(w.dilations.begin(), 1);
    w.pads = {0, w.pads[0], 0, w.pads[1]};
  }
  const Shape image{x[0], x[1], spatial_rank == 1 ? 1 : x[2], x.back()};
  const std::string auto_pad = c.attributes.string_or("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET") {
    if (auto_pad != "SAME_UPPER" && auto_pad != "SAME_LOWER" && auto_pad != "VALID")
      throw input_error("auto_pad is '{}'", auto_pad);
    w.pads = {0, 0, 0, 0};
    w.ceil_mode = false;
    for (size_t axis = 0; axis < 2 && auto_pad != "VALID"; ++axis) {
      const int64_t n = image[axis + 2];
      const int64_t span = (w.kernel[axis] - 1) * w.dilations[axis] + 1;
      const int64_t total =
          std::max<int64_t>(0, (ceil_div(n, w.strides[axis]) - 1) * w.strides[axis] + span - n);
      const int64_t smaller = total / 2;
      w.pads[axis] = auto_pad == "SAME_UPPER" ? smaller : total - smaller;
      w.pads[axis + 2] = total - w.pads[axis];
    }
  }
  Attributes attributes{{"kernel", w.kernel},
                        {"strides", w.strides},
                        {"dilations", w.dilations},
                        {"pads", w.pads},
                        {"ceil_mode", int64_t{w.ceil_mode}}};
  if (!max) attributes.set("count_include_pad", int64_t{w.count_include_pad});
  Builder& b = c.builder;
  const ValueId in = b.transpose(b.reshape(c.inputs[0], image), {0, 2, 3, 1});
  const ValueId y = b.transpose(b.add1(c.op_type, {in}, attributes), {0, 3, 1, 2});
  if (spatial_rank == 2) return {y};
  return {b.reshape(y, {x[0], x[1], b.shape(y)[3]})};
}

}  // namespace

const OpFamily& pool_family() {
  static const OpFamily family{
      {OpDef("MaxPool", infer, prepare, GradientRule{gradient_max}),
       OpDef("MaxPoolGrad", infer_grad, prepare_grad, NoGradient{"second derivatives are not computed"}),
       OpDef("AveragePool", infer, prepare, GradientRule{gradient_average}),
       OpDef("AveragePoolGrad", infer_grad, prepare_grad, NoGradient{"second derivatives are not computed"})},
      {{"MaxPool", 1, 24, import, nullptr}, {"AveragePool", 1, 24, import, nullptr}},
  };
  return family;
}

}  // namespace halftone::ops
