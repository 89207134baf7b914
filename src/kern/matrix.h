// Matrix products and convolutions: what they mean, exactly, and how a product is planned and run.
//
// Four products, channels last:
//   kConv            y[n,oh,ow,o]  = sum over (kh,kw,c)  x[n, oh*sh+kh*dh-top, ow*sw+kw*dw-left, c] * w[o,kh,kw,c]
//                    (+ bias[o])
//   kConvGradInput   dx[n,h,w,c]   = sum over (kh,kw,o)  dy[n,oh,ow,o] * w[o,kh,kw,c]
//                    with oh*sh + kh*dh - top = h, ow likewise
//   kConvGradWeight dw[o,kh,kw,c] = sum over (n,oh,ow) dy[n,oh,ow,o] * x[n, oh*sh+kh*dh-top,
//   ow*sw+kw*dw-left, c]
//   kMatMul          y[..,m,n]     = alpha * sum over k  a[..,m,k] * b[..,k,n]  (+ bias[n])
// With `group` > 1 channel slice g of x (c / group wide) meets output slice g alone: `group` convolutions
// side by side.
//
// The order of a sum, K, is part of its meaning:
//   kConv            (kh, kw, c) ascending; a tap outside the image multiplies 0
//   kConvGradInput   only taps whose stride phase fits ((h + top - kh*dh) divisible by sh, likewise w), kh
//                    descending, kw descending (so oh, ow ascend), then o ascending; a tap outside dy
//                    multiplies 0
//   kConvGradWeight pixels (n, oh, ow) ascending, in `image_groups` chains of whole images, added in
//   ascending
//                    order
//   kMatMul          k ascending
//
// `wide`: operands widened to fp32 (fp64 for fp64); each output is one chain acc = fma(a, b, acc) from +0
// over K (kConvGradWeight: one chain for each group of images).
//
// `block`: operands become 12-bit integers and a sign with a power-of-two scale for each block; at most 128
// products add up exactly in int32 (a chunk), then acc = fma(float(sum), scale_a * scale_b, acc) in fp32,
// chunks ascending.
//   e      the smallest with max|x| < 2^e over the block, but at least -51; the scale is 2^(e-12),
//          r = rint(x * 2^(12-e)). |r| <= 4095 holds of itself: fp16 and bf16 have at most 11 significant
//          bits, so the largest r is 4094. e = -51 keeps the product of two scales a normal float (2^-126);
//          it flushes bf16 values below 2^-64 to zero. A block with a NaN, an infinity, or (bf16) a value of
//          2^75 or more has a NaN scale, so its results are NaN: visible, and the step is skipped.
//   kConv, kConvGradInput
//          blocks: x, dy: an image's channels of one group; w: an output channel (kConv), an input channel
//          (kConvGradInput), all taps. Channels are counted in pairs (an odd last one is paired with 0): a
//          chunk is 64 consecutive pairs in K order, across taps.
//   kConvGradWeight
//          blocks: `block_images` images' channels of one group, for x and for dy. A chunk is `chunk_rows`
//          rows (of the block's images one after the other), or for rows of more than 128 pixels 128-pixel
//          pieces of a row; it never crosses a block.
//   kMatMul
//          blocks: a row of a, and a column of b, times a run of 128 of k (the last run may be shorter); a
//          chunk is a run.
//
// `half`: fp16 arithmetic on operands as they are stored. The chunks are those of `block`, of at most 64
// pairs of terms: channels 2i and 2i+1 of a tap, pixels 2j and 2j+1 of a row, or k 2i and 2i+1 of a run; an
// odd last one is paired with 0. The first members of the pairs are one chain, the second members another:
//   s = 0;  for each pair of the chunk, ascending:  s = fma16(a, b, s)       (one rounding, to fp16)
// and then, in fp32, acc = acc + (float(s_first) + float(s_second)), chunks ascending. fp16 subnormals are
// kept, whatever FTZ and DAZ say. A chain beyond 65504 is an infinity: visible, and the step is skipped.
// kConvGradWeight of rows with an odd number of pixels: dy's last pixel is paired with 0, and x's with the
// one that would meet a further pixel of dy (0 in the padding, and where kw is 1): an infinity there gives a
// NaN. Depthwise convolutions (one input channel a group) multiply `wide` under every policy: they reuse
// nothing, so memory bounds them.
//
// At the end y = narrow(acc * alpha + bias) (two fp32 operations; alpha is 1 and bias absent elsewhere): one
// rounding into the storage type. Which NaN a NaN result is, is not part of the meaning.
//
// An instruction set supplies `plan` (at prepare time) and `run`. A product runs in stages, one after the
// other; the chunks of a stage are independent and may run in any order on any worker. All memory is the
// scratch that the plan asks for.
//
// Convolutions and their input gradients can be run hand in hand with their neighbours, so that a tensor is
// read while a cache still has it: `scales_stage`, which needs nothing of the stages before it, may run image
// by image as soon as `a` has an image, and `written` says which part of y a chunk of the last stage has
// finished.
#pragma once

#include <cstddef>
#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// How products are formed and summed (docs/numerics.md). An instruction set delivers wide and block; half
// only where MatrixKernels::half says so.
enum class Multiply : uint8_t { kWide, kBlock, kHalf };

enum class ProductKind : uint8_t { kConv, kConvGradInput, kConvGradWeight, kMatMul };

struct ConvGeometry {
  int64_t n, h, w, c;  // x, dx
  int64_t oh, ow, o;   // y, dy
  int64_t kh, kw;      // kernel
  int64_t sh, sw;      // strides
  int64_t dh, dw;      // dilations
  int64_t top, left;   // padding before; what is needed after follows from oh, ow
  int64_t group;
};

struct MatMulGeometry {
  static constexpr int kMaxBatchRank = 6;
  int64_t m, k, n;
  bool trans_a, trans_b;  // a is stored [..,k,m], b [..,n,k]
  float alpha;
  int batch_rank;  // y's batch dimensions, row-major
  int64_t batch[kMaxBatchRank];
  int64_t a_stride[kMaxBatchRank];  // in matrices; 0 where broadcast
  int64_t b_stride[kMaxBatchRank];
  // y is in the register type and holds what acc starts from; acc takes its place as it is, without alpha and
  // bias. So a sum over K may be done in several products: the same bits as in one, where each but the last
  // has a multiple of 128 terms.
  bool sums = false;
};

struct Product {
  ProductKind kind;
  DType dtype;
  Multiply multiply;
  bool has_bias;
  ConvGeometry conv;      // unless kMatMul
  MatMulGeometry matmul;  // kMatMul
  // kConvGradWeight, functions of the shapes alone:
  int64_t block_images;  // images with a common scale: as many as give at most 128 pixels, at least 1
  int64_t chunk_rows;    // 0: rows are cut into pieces of 128 pixels
  int64_t image_groups;  // chains
};

// The product of these shapes, with everything about its meaning settled. block needs a 16-bit type and half
// fp16; other types (and depthwise) become wide. A 1x1 convolution without stride and padding is treated as
// one over an image of a single row.
Product conv_product(ProductKind kind, DType dtype, Multiply multiply, bool has_bias,
                     const ConvGeometry& geometry);
Product matmul_product(DType dtype, Multiply multiply, bool has_bias, const MatMulGeometry& geometry);

struct ProductPlan {
  static constexpr int kMaxStages = 3;
  Product product;
  int threads;  // workers are in [0, threads)
  int stages;
  int64_t chunks[kMaxStages];
  int scales_stage =
      -1;  // finds each image's scales, chunk = image * group + channel group; -1: no such stage
  int64_t scratch_bytes;
  // The instruction set's own, made by `plan`.
  static constexpr size_t kWorkBytes = 640;
  static constexpr size_t kWorkAlignment = 8;
  alignas(kWorkAlignment) std::byte work[kWorkBytes];
};

// a: x, dy, x, a.  b: w, w, dy, b.  y: y, dx, dw, y (in the order of ProductKind). Pointers aligned to their
// element; scratch to 64 bytes.
struct ProductOperands {
  const void* a;
  const void* b;
  const void* bias;
  void* y;
  std::byte* scratch;
};

// Pixels of y, all images' in one list, that have got `channels` of their channels: `pixels` from each of
// first, first + step, ... (`runs` of them).
struct Written {
  int64_t first, pixels, step, runs, channels;
};

// One instruction set's; fp64 only in the reference.
struct MatrixKernels {
  // Fills everything but product and threads.
  void (*plan)(ProductPlan& plan) noexcept;
  // kConv, kConvGradInput: what a chunk of the last stage writes.
  Written (*written)(const ProductPlan& plan, int64_t chunk) noexcept;
  // FTZ and DAZ are on.
  void (*run)(const ProductPlan& plan, const ProductOperands& operands, int stage, int64_t chunk,
              int worker) noexcept;
  bool half;  // Multiply::kHalf is delivered: without fp16 arithmetic it would be slower than wide
};

}  // namespace halftone::kern
