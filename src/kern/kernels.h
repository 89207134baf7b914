// The kernels: the only code that loops over elements. One table of functions for each instruction set, one
// meaning for all: each function equals kern/ref bit for bit (docs/numerics.md), so an instruction set is a
// matter of speed only.
//
// Common contract. Functions are noexcept, single-threaded and allocate nothing; a caller splits work into
// chunks that don't depend on the thread count. Pointers need no alignment; lengths may be 0. "Register type"
// is fp32, or fp64 when dtype is fp64 (the oracle: every table hands fp64 to the reference's code). One
// rounding (nearest-even) per stored element unless said otherwise; everything inside is in registers of the
// register type. fma(a, b, c) is written where it is meant, and nowhere else (-ffp-contract=off). FTZ/DAZ are
// on. Output may share memory with an input of the same type and place (element-wise kernels), unless said
// otherwise.
//
// Formulas, down to the order of operations, are in lane/formula.h and lane/math.h: the same code for the
// reference's single lane and for a vector of lanes. Maximum, minimum and clipping are a comparison and a
// selection, so that NaN is treated as each formula says and a subnormal (equal to zero under DAZ) comes out
// unchanged. Where an operation has several NaN arguments, which of them it returns is open; a result that is
// NaN is NaN on every instruction set.
#pragma once

#include <cstdint>

#include "kern/matrix.h"
#include "num/dtype.h"
#include "num/random.h"

namespace halftone::kern {

struct UnaryArgs;  // pointwise.h
struct UnaryGradArgs;
struct BinaryArgs;
struct ReduceRowsArgs;  // reduce.h
struct SumColumnsArgs;
// Tables of their own, for what only a few operators need:
struct NormalizationKernels;  // normalization.h
struct IndexKernels;          // index.h
struct SamplingKernels;       // sampling.h

// ---------------------------------------------------------------- element-wise
// y = x in another float type, nearest-even (times `scale` first, which is rounded to the register type; 1
// leaves the value alone).
struct ConvertArgs {
  DType from;
  const void* x;
  DType to;
  void* y;
  int64_t n;
  double scale;
};
// acc (fp32, or fp64 for fp64) += x.
struct AccumulateArgs {
  DType dtype;
  const void* x;
  void* acc;
  int64_t n;
};
// Dropout: y = keep ? x / (1 - ratio) : 0, where element i (counted from `first`) is kept when
// num::random32(key, first + i, step) >= ratio * 2^32, 0 <= ratio < 1. The gradient is the same function of
// dy.
struct DropoutArgs {
  DType dtype;
  const void* x;
  void* y;
  int64_t first;
  int64_t n;
  float ratio;
  num::RandomKey key;
  uint64_t step;
};

// ---------------------------------------------------------------- movement
// Any element of 1, 2, 4 or 8 bytes: target[index . target_strides] = source[index . source_strides] over
// `shape`; rank 0 to 8; strides in elements, may be 0 (source only) or negative. No overlap.
struct CopyArgs {
  int64_t element_bytes;
  const void* source;
  void* target;
  int rank;
  const int64_t* shape;
  const int64_t* source_strides;
  const int64_t* target_strides;
  bool past_caches = false;  // the target is larger than caches: what is written need not stay in one
};
// n elements of dtype (any) set to value.
struct FillArgs {
  DType dtype;
  void* y;
  int64_t n;
  double value;
};

// ---------------------------------------------------------------- of a whole tensor
// Sum of squares in double (16 virtual lanes of double, tree as above) and whether all are finite; for the
// gradient guard.
struct NormArgs {
  DType dtype;
  const void* x;
  int64_t n;
  double* sum_squares;
  bool* finite;
};

// ---------------------------------------------------------------- per-channel work, channels last
// x[rows][cols], cols = channels. Per-channel arrays (mean, scale, ...) are in the register type.
struct
    SquaredDeviationArgs {  // out[c] = sum of (x[r][c] - mean[c])^2 by fma(d, d, out), from 0, rows ascending
  DType dtype;
  const void* x;
  const void* mean;
  int64_t rows, cols;
  void* out;
};
// What may follow in the same pass, before the one rounding: max(z, 0), or z between low and high.
enum class Activation : uint8_t { kNone, kRelu, kClip };
// z = fma(x[r][c], scale[c], shift[c]) (+ residual[r][c]);  y[r][c] = activation(z)
struct ChannelAffineArgs {
  DType dtype;
  const void* x;
  const void* scale;
  const void* shift;
  void* y;
  int64_t rows, cols;
  const void* residual = nullptr;
  Activation activation = Activation::kNone;
  float low = 0;
  float high = 0;
};
// The activation that dy has to go back through, in the two kernels below: g = dy where the activation lets
// it through, else 0, as UnaryGradArgs says for kRelu and kClip. It is decided from `y` (kRelu only), or
// where y is null from z = fma(x, scale[c], shift[c]), which is what ChannelAffineArgs computed without a
// residual.
struct ChannelMask {
  Activation activation = Activation::kNone;
  float low = 0;
  float high = 0;
  const void* scale = nullptr;
  const void* shift = nullptr;
  const void* y = nullptr;
};
// sum_dy[c] = sum of g[r][c]; sum_dyx[c] = sum of g * (x - mean[c]) by fma; from 0, rows ascending. masked,
// when given, gets g (which a storage type holds exactly: it is dy or 0), and may be dy's memory.
struct ChannelGradSumsArgs {
  DType dtype;
  const void* dy;
  const void* x;
  const void* mean;
  int64_t rows, cols;
  void* sum_dy;
  void* sum_dyx;
  ChannelMask mask = {};
  void* masked = nullptr;
};
struct ChannelAffinePairArgs {  // dx[r][c] = fma(g, a[c], fma(x, b[c], shift[c]))
  DType dtype;
  const void* dy;
  const void* x;
  const void* a;
  const void* b;
  const void* shift;
  void* dx;
  int64_t rows, cols;
  ChannelMask mask = {};
};

// ---------------------------------------------------------------- pooling, channels last
// One image: x[H][W][C] -> y[OH][OW][C].
struct PoolGeometry {
  int64_t h, w, c, oh, ow;
  int64_t kh, kw, sh, sw, dh, dw;  // kernel, stride, dilation
  int64_t top, left;               // padding before
  int64_t bottom, right;           // padding after (average pooling counts it when count_include_pad)
  bool count_include_pad;
};
// Maximum over the valid taps, rows oh0 <= oh < oh1; a NaN wins; a window without a valid tap cannot occur
// (checked when planning). Average: sum in (kh, kw) order, then one multiplication by 1 / count (count: taps
// that count; computed in the register type).
struct PoolArgs {
  DType dtype;
  const void* x;
  void* y;
  PoolGeometry geometry;
  int64_t oh0, oh1;
};
// dx[H][W][C], overwritten. Sums in `scratch` (H*W*C elements of the register type), windows in (oh, ow)
// order; each window's gradient goes to the first tap in (kh, kw) order that equals its maximum (to the last
// NaN when there is one; as PyTorch), or in equal shares, dy * (1 / count), for the average.
struct PoolGradArgs {
  DType dtype;
  const void* x;  // MaxPool only
  const void* dy;
  void* dx;
  void* scratch;
  PoolGeometry geometry;
};

// ---------------------------------------------------------------- softmax over contiguous rows
// y = exp(x - max) / sum, log: x - max - log(sum); the sum as ReduceRows. max, sum: of each row, in the
// register type, or both null; written, or where they are `known` read instead of computed.
struct SoftmaxArgs {
  DType dtype;
  const void* x;
  void* y;
  int64_t rows, cols;
  bool log;
  void* max = nullptr;
  void* sum = nullptr;
  bool known = false;
};
// dx = y * (dy - sum(dy * y));  log: dx = dy - exp(y) * sum(dy). Sums as ReduceRows (the product by fma into
// its lane).
struct SoftmaxGradArgs {
  DType dtype;
  const void* y;
  const void* dy;
  void* dx;
  int64_t rows, cols;
  bool log;
};

// ---------------------------------------------------------------- losses
// Cross-entropy of softmax(x) with class labels, label smoothing as PyTorch's CrossEntropyLoss:
// loss[r] = (1 - s) * -log p[label] + s / cols * sum_c -log p[c].  dx = grad_scale * (p - target), nullptr
// when not wanted. correct[r] = 1 when the first maximum of the row is the label (0 when the row has a NaN).
// Labels are in [0, cols), checked before.
struct CrossEntropyArgs {
  DType dtype;
  const void* x;
  const int32_t* labels;
  int64_t rows, cols;
  float smoothing;
  float grad_scale;
  void* loss;  // register type, one a row
  int32_t* correct;
  void* dx;
};
// Element-wise losses with targets in the register type: squared error (x - t)^2; binary cross-entropy of
// probabilities (logs clamped at -100, as PyTorch) or of logits. loss = sum over n (ReduceRows order); dx =
// grad_scale * dloss/dx, nullptr when not wanted.
enum class PointwiseLoss : uint8_t { kSquaredError, kBinaryCrossEntropy, kBinaryCrossEntropyWithLogits };
struct PointwiseLossArgs {
  PointwiseLoss kind;
  DType dtype;
  const void* x;
  const void* target;
  int64_t n;
  float grad_scale;
  void* loss;
  void* dx;
};

// ---------------------------------------------------------------- optimizers
// One pass over elements [first, first + n) of a tensor (pointers already point at element `first`; `first`
// only numbers the random bits). All arithmetic in registers, g = grad * grad_scale, wd = weight_decay; u is
// what the weight is to change by:
//   SGD      g += wd w;  m = momentum m + g;  d = nesterov ? g + momentum m : m  (momentum 0: d = g, m unused)
//   Adam     g += wd w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  d = (m / c1) / (sqrt(v / c2) + eps)
//   AdamW    the same without g += wd w;  u gets -lr wd w besides
//   RMSProp g += wd w; v = b2 v + (1 - b2) g^2; d = g / (sqrt(v) + eps); with momentum m = momentum m + d, d
//   = m
//   Lion     d = sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g;  u gets -lr wd w besides; v is unused
// and u = -lr d. The exact order of operations and every fma is optimizer_update's (lane/formula.h).
// State: m is stored as m * state_scale, v as sqrt(v) * state_scale (both in dtype, rounded stochastically
// when rounding is stochastic; to nearest for nearest and Kahan); state_scale is a power of two and
// read_scale the reciprocal of the one it was stored with. Rounding: nearest w' = nearest(w + u); stochastic
// the same with 16 bits of num::random16(key, first + i, step), key_w, key_m, key_v for the three arrays
// (fp32 and fp64 are stored as they are); Kahan: carry[] (dtype) holds what the last stores lost, u += carry;
// w' = nearest(w + u); carry = nearest(u - (w' - w)). stalled: += the number of elements whose u was not zero
// and whose stored weight did not change.
enum class Optimizer : uint8_t { kSgd, kAdam, kAdamW, kRmsProp, kLion };
enum class Rounding : uint8_t { kNearest, kStochastic, kKahan };
struct OptimizerArgs {
  Optimizer kind;
  Rounding rounding;
  DType dtype;       // of w, m, v, carry
  DType grad_dtype;  // of grad: dtype, or fp32 when gradients were accumulated
  void* w;
  const void* grad;
  void* m;
  void* v;
  void* carry;
  int64_t first, n;
  float lr, grad_scale, weight_decay;
  float momentum;  // SGD, RMSProp
  bool nesterov;
  double beta1,
      beta2;  // Adam, AdamW, Lion; RMSProp: beta2 is alpha. Double, so that 1 - beta is rounded once
  float eps;
  float correction1, correction2;  // c1 = 1 - beta1^t, c2 = 1 - beta2^t
  float read_scale, state_scale;
  num::RandomKey key_w, key_m, key_v;
  uint64_t step;
  int64_t* stalled;
};

// ---------------------------------------------------------------- the table
struct Kernels {
  void (*unary)(const UnaryArgs&) noexcept;
  void (*unary_grad)(const UnaryGradArgs&) noexcept;
  void (*binary)(const BinaryArgs&) noexcept;
  void (*convert)(const ConvertArgs&) noexcept;
  void (*accumulate)(const AccumulateArgs&) noexcept;
  void (*dropout)(const DropoutArgs&) noexcept;
  void (*copy)(const CopyArgs&) noexcept;
  void (*fill)(const FillArgs&) noexcept;
  void (*reduce_rows)(const ReduceRowsArgs&) noexcept;
  void (*sum_columns)(const SumColumnsArgs&) noexcept;
  void (*norm)(const NormArgs&) noexcept;
  void (*squared_deviation)(const SquaredDeviationArgs&) noexcept;
  void (*channel_affine)(const ChannelAffineArgs&) noexcept;
  void (*channel_grad_sums)(const ChannelGradSumsArgs&) noexcept;
  void (*channel_affine_pair)(const ChannelAffinePairArgs&) noexcept;
  void (*max_pool)(const PoolArgs&) noexcept;
  void (*max_pool_grad)(const PoolGradArgs&) noexcept;
  void (*average_pool)(const PoolArgs&) noexcept;
  void (*average_pool_grad)(const PoolGradArgs&) noexcept;
  void (*softmax)(const SoftmaxArgs&) noexcept;
  void (*softmax_grad)(const SoftmaxGradArgs&) noexcept;
  void (*cross_entropy)(const CrossEntropyArgs&) noexcept;
  void (*pointwise_loss)(const PointwiseLossArgs&) noexcept;
  void (*optimizer)(const OptimizerArgs&) noexcept;
  const NormalizationKernels* normalization;
  const IndexKernels* index;
  const SamplingKernels* sampling;
  MatrixKernels matrix;
};

}  // namespace halftone::kern
