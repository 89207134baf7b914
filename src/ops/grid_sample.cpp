// GridSample, channels last; its two gradients. AffineGrid, a MatMul with a table of places.
//
// formula  y[n, h, w, c] = the image x[n] at the place (grid[n, h, w, 0], grid[n, h, w, 1]), -1 and 1 being
//          its edges, by linear, cubic or nearest interpolation; outside the image 0, its edge, or its
//          reflection
// gradient of x: dy, spread over the same taps; of the grid: the interpolation's derivative (nearest: 0).
//          Kinks where a place crosses from one pixel to the next, or into the padding
// shapes   x[N, H, W, C], grid[N, OH, OW, 2] -> y[N, OH, OW, C]; ONNX's x[N, C, H, W] is transposed around it
// dtypes   fp16 bf16 fp32; fp64 in the oracle. The grid's numbers are stored like all others: in fp16 a
//          place is exact to 2^-11 of half the image
// rounds   once, when stored; places, weights and sums in registers
// saves    x and the grid
// scratch  gradient of x: H * W * C numbers of the register type a thread
// alias    none
// errors   other ranks; batches that differ; an unknown mode. A place that is not finite gives NaN
// source   ONNX GridSample-16/20/22; AffineGrid-20
// tests    tests/ops/grid_sample_test.cpp
#include "base/error.h"
#include "kern/sampling.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::grid_sample {
namespace {

// IR attributes: mode (linear, nearest, cubic), padding (zeros, border, reflection), align_corners.
kern::GridGeometry geometry(const Attributes& a, const Shape& x, const Shape& grid) {
  const std::string mode = a.string_or("mode", "");
  const std::string padding = a.string_or("padding", "");
  return {x[1],
          x[2],
          x[3],
          grid[1] * grid[2],
          mode == "linear"    ? kern::GridMode::kLinear
          : mode == "nearest" ? kern::GridMode::kNearest
                              : kern::GridMode::kCubic,
          padding == "zeros"    ? kern::GridPadding::kZeros
          : padding == "border" ? kern::GridPadding::kBorder
                                : kern::GridPadding::kReflection,
          a.int_at("align_corners") != 0};
}

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  const Type& grid = c.input(1);
  if (!is_float(x.dtype) || x.dtype != grid.dtype)
    throw input_error("floats of one type were expected, got {} and {}", name_of(x.dtype),
                      name_of(grid.dtype));
  if (x.shape.size() != 4 || grid.shape.size() != 4 || grid.shape[3] != 2)
    throw input_error("an image [N, H, W, C] and a grid [N, OH, OW, 2] were expected, got {} and {}",
                      to_string(x.shape), to_string(grid.shape));
  if (x.shape[0] != grid.shape[0]) throw input_error("{} images and {} grids", x.shape[0], grid.shape[0]);
  constexpr int64_t kLongest = int64_t{1} << 24;  // places are fp32
  for (const int64_t d : {x.shape[1], x.shape[2]})
    if (d < 1 || d > kLongest)
      throw input_error("an image of {} rows and {} columns", x.shape[1], x.shape[2]);
  return {{x.dtype, {x.shape[0], grid.shape[1], grid.shape[2], x.shape[3]}}};
}

// Chunks of pixels: `per` of each image's.
struct Pixels {
  int64_t per, blocks;
};
Pixels pixels_of(const kern::GridGeometry& g) {
  const int64_t per = std::max<int64_t>(1, kChunkElements / 4 / std::max<int64_t>(1, g.c));
  return {per, ceil_div(g.pixels, per)};
}

Prepared prepare(const PrepareContext& c) {
  const kern::GridGeometry g = geometry(c.attributes(), c.input(0).shape, c.input(1).shape);
  const int64_t width = size_bytes(c.input(0).dtype);
  const Pixels p = pixels_of(g);
  return {0, [=, kernel = c.kernels.sampling->grid_sample, images = c.input(0).shape[0],
              dtype = c.input(0).dtype](const RunContext& r) {
            run_chunks(r.pool, images * p.blocks, [&](int64_t chunk, int) {
              const int64_t image = chunk / p.blocks;
              const int64_t first = chunk % p.blocks * p.per;
              kernel({dtype, at(r.in[0], image * g.h * g.w * g.c * width),
                      at(r.in[1], image * g.pixels * 2 * width), at(r.out[0], image * g.pixels * g.c * width),
                      g, first, std::min(g.pixels, first + p.per)});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  std::vector<ValueId> d(2, kNone);
  if (c.needs[0]) {
    Attributes attributes = c.node.attributes;
    attributes.set("shape", c.builder.shape(c.x(0)));
    d[0] = c.builder.add1("GridSampleGrad", {c.x(1), c.dy[0]}, std::move(attributes));
  }
  if (c.needs[1] && c.node.attributes.string_or("mode", "") != "nearest")
    d[1] = c.builder.add1("GridSampleGridGrad", {c.x(0), c.x(1), c.dy[0]}, c.node.attributes);
  return d;
}

// GridSampleGrad(grid, dy) -> dx, whose shape is an attribute
std::vector<Type> infer_grad(const InferContext& c) {
  return {{c.input(1).dtype, c.attributes().ints_at("shape")}};
}
Prepared prepare_grad(const PrepareContext& c) {
  const kern::GridGeometry g = geometry(c.attributes(), c.output(0).shape, c.input(0).shape);
  const int64_t width = size_bytes(c.output(0).dtype);
  const int64_t scratch = aligned_bytes(g.h * g.w * g.c * size_bytes(register_type(c.output(0).dtype)));
  return {scratch * c.threads,
          [=, kernel = c.kernels.sampling->grid_sample_grad, images = c.output(0).shape[0],
           dtype = c.output(0).dtype](const RunContext& r) {
            run_chunks(r.pool, images, [&](int64_t image, int worker) {
              kernel({dtype, at(r.in[0], image * g.pixels * 2 * width),
                      at(r.in[1], image * g.pixels * g.c * width),
                      at(r.out[0], image * g.h * g.w * g.c * width), r.scratch + worker * scratch, g});
            });
          }};
}

// GridSampleGridGrad(x, grid, dy) -> dgrid
std::vector<Type> infer_grid_grad(const InferContext& c) {
  return {c.input(1)};
}
Prepared prepare_grid_grad(const PrepareContext& c) {
  const kern::GridGeometry g = geometry(c.attributes(), c.input(0).shape, c.input(1).shape);
  const int64_t width = size_bytes(c.input(0).dtype);
  const Pixels p = pixels_of(g);
  return {
      0, [=, kernel = c.kernels.sampling->grid_sample_grid_grad, images = c.input(0).shape[0],
          dtype = c.input(0).dtype](const RunContext& r) {
        run_chunks(r.pool, images * p.blocks, [&](int64_t chunk, int) {
          const int64_t image = chunk / p.blocks;
          const int64_t first = chunk % p.blocks * p.per;
          kernel({dtype, at(r.in[0], image * g.h * g.w * g.c * width),
                  at(r.in[1], image * g.pixels * 2 * width), at(r.in[2], image * g.pixels * g.c * width),
                  at(r.out[0], image * g.pixels * 2 * width), g, first, std::min(g.pixels, first + p.per)});
        });
      }};
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"align_corners", "mode", "padding_mode"});
  const Shape x = c.shape(0);
  if (x.size() != 4) throw input_error("X is {}; only images [N, C, H, W] are supported", to_string(x));
  std::string mode = c.attributes.string_or("mode", c.opset < 20 ? "bilinear" : "linear");
  if (c.opset < 20) {  // the names that it had
    if (mode != "bilinear" && mode != "nearest" && mode != "bicubic")
      throw input_error("mode is '{}', expected bilinear, nearest or bicubic", mode);
    if (mode == "bilinear") mode = "linear";
    if (mode == "bicubic") mode = "cubic";
  }
  if (mode != "linear" && mode != "nearest" && mode != "cubic")
    throw input_error("mode is '{}', expected linear, nearest or cubic", mode);
  const std::string padding = c.attributes.string_or("padding_mode", "zeros");
  if (padding != "zeros" && padding != "border" && padding != "reflection")
    throw input_error("padding_mode is '{}', expected zeros, border or reflection", padding);
  Builder& b = c.builder;
  const ValueId y = b.add1("GridSample", {b.transpose(c.inputs[0], {0, 2, 3, 1}), c.inputs[1]},
                           {{"mode", mode},
                            {"padding", padding},
                            {"align_corners", int64_t{c.attributes.int_or("align_corners", 0) != 0}}});
  return {b.transpose(y, {0, 3, 1, 2})};
}

// AffineGrid: places of the pixels of an image or volume of a constant size, times a matrix of each sample.
std::vector<ValueId> import_affine_grid(ImportContext& c) {
  check_attributes(c.attributes, {"align_corners"});
  const Shape theta = c.shape(0);
  const std::vector<int64_t> size = c.int_constant(1);
  const auto axes = static_cast<int64_t>(size.size()) - 2;
  if ((axes != 2 && axes != 3) || theta != Shape{size[0], axes, axes + 1})
    throw input_error(
        "theta is {} and size {}; [N, 2, 3] for images [N, C, H, W] or [N, 3, 4] for volumes [N, C, D, H, W] "
        "was expected",
        to_string(theta), to_string(size));
  const bool align = c.attributes.int_or("align_corners", 0) != 0;
  const auto place = [&](int64_t i, int64_t n) {  // of pixel i of n
    if (align) return n == 1 ? 0.0 : 2.0 * static_cast<double>(i) / static_cast<double>(n - 1) - 1;
    return (2.0 * static_cast<double>(i) + 1) / static_cast<double>(n) - 1;
  };
  const Shape image(size.begin() + 2, size.end());
  for (const int64_t d : image)
    if (d < 1) throw input_error("size is {}", to_string(size));
  Shape places = image;
  places.push_back(axes + 1);
  Tensor pixels = folded(DType::kF32, places);  // refuses what is too large
  const int64_t count = elements(image);
  const Shape strides = strides_of(image);
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    for (size_t axis = image.size(); axis-- > 0;)  // x, the last axis, first
      pixels.as<float>()[at++] = static_cast<float>(place(i / strides[axis] % image[axis], image[axis]));
    pixels.as<float>()[at++] = 1;
  }
  Builder& b = c.builder;
  const ValueId grid = b.add1("MatMul", {b.constant(pixels.reshaped({count, axes + 1})), c.inputs[0]},
                              {{"trans_b", int64_t{1}}});
  Shape y{size[0]};
  y.insert(y.end(), image.begin(), image.end());
  y.push_back(axes);
  return {b.reshape(grid, y)};
}

constexpr std::string_view kReason = "second derivatives are not computed";

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("GridSample", infer, prepare, GradientRule{gradient}),
       OpDef("GridSampleGrad", infer_grad, prepare_grad, NoGradient{kReason}),
       OpDef("GridSampleGridGrad", infer_grid_grad, prepare_grid_grad, NoGradient{kReason})},
      {{.op_type = "GridSample", .since = 16, .until = 24, .import = import, .required_inputs = 2},
       {.op_type = "AffineGrid",
        .since = 20,
        .until = 24,
        .import = import_affine_grid,
        .required_inputs = 2}},
  };
  return family;
}

}  // namespace halftone::ops::grid_sample
