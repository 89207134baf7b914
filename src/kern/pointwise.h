// Element-wise kernels of one tensor or of two. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// alpha, beta: the ONNX attributes of the operator; kClip: alpha = min, beta = max; kPowScalar: y = x ^ alpha
// (alpha 1 and 2 exactly x and x * x). Both are rounded to the register type. NaN in gives NaN out.
enum class Unary : uint8_t {
  kRelu,
  kLeakyRelu,
  kElu,
  kSigmoid,
  kTanh,
  kHardSigmoid,
  kHardSwish,
  kClip,
  kSoftplus,
  kErf,
  kGelu,
  kGeluTanh,
  kSqrt,
  kNeg,
  kExp,
  kLog,
  kPowScalar,
  kAbs,
  kReciprocal,
  kSilu,
  kMinZero /* min(x, 0) */,
  kScale /* alpha * x + beta, one fma */,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kSoftsign /* x / (1 + |x|) */,
  kSelu /* beta * (x < 0 ? alpha * (exp(x) - 1) : x) */,
  kCelu /* x < 0 ? alpha * (exp(x / alpha) - 1) : x */,
  kThresholdedRelu /* x > alpha ? x : 0 */,
  kShrink /* x < -beta ? x + alpha : x > beta ? x - alpha : 0 */,
  kMish /* x * tanh(softplus(x)) */,
  kSwish /* x * sigmoid(alpha * x) */,
  kSign /* -1, 0 or 1 */,
  kFloor,
  kCeil,
  kRound /* to the nearest whole number, halves to the even one */,
};
struct UnaryArgs {
  Unary op;
  DType dtype;
  const void* x;
  void* y;
  int64_t n;
  double alpha;
  double beta;
};
// dx = dy * f'(x). An op reads x, or y = f(x), as reads_y() below says; the other pointer may be null.
struct UnaryGradArgs {
  Unary op;
  DType dtype;
  const void* x;
  const void* y;
  const void* dy;
  void* dx;
  int64_t n;
  double alpha;
  double beta;
};
// Whether the gradient is computed from y (then x isn't needed) rather than from x.
constexpr bool gradient_reads_y(Unary op) {
  return op == Unary::kRelu || op == Unary::kSigmoid || op == Unary::kTanh || op == Unary::kSqrt ||
         op == Unary::kExp || op == Unary::kReciprocal || op == Unary::kTan;
}

// y[r][c] = op(a[r * a_row + c * a_col], b[r * b_row + c * b_col]); strides in elements, *_col is 0 or 1; y
// is dense rows x cols. y may share memory with an operand that is dense too.
enum class Binary : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kPow /* exp(b log a) with pow's special cases */,
  kPRelu /* a < 0 ? a * b : a */,
  kPReluSlope /* a < 0 ? b : 1 */,
  kMin /* a NaN wins */,
  kMax,
  kMinShare /* what of dMin(a, b) goes to a: a < b ? 1 : a == b ? 1/2 : 0; NaN where either is */,
  kMaxShare,
  kFmod /* a - b * trunc(a / b), exact: C's fmod */,
  kEqual /* a == b ? 1 : 0 */,
  kDivOrZero /* b == 0 ? 0 : a / b */,
};
struct BinaryArgs {
  Binary op;
  DType dtype;
  const void* a;
  int64_t a_row, a_col;
  const void* b;
  int64_t b_row, b_col;
  void* y;
  int64_t rows, cols;
};

}  // namespace halftone::kern
