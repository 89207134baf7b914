// From a value known at run time to a template argument: choose(op, f) calls f(Constant<op>{}).
#pragma once

#include "kern/kernels.h"
#include "kern/pointwise.h"
#include "kern/reduce.h"
#include "num/half.h"

namespace halftone::kern::HALFTONE_KERN_NS {

template <auto kValue>
struct Constant {
  static constexpr auto value = kValue;
};
template <class T>
struct Type {
  using type = T;
};

// The storage types of fp32 registers. fp64 is the reference's alone: false when dtype isn't one of these.
template <class F>
HALFTONE_INLINE bool choose_storage(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      f(Type<float>{});
      return true;
    case DType::kF16:
      f(Type<num::Fp16>{});
      return true;
    case DType::kBf16:
      f(Type<num::Bf16>{});
      return true;
    default:
      return false;
  }
}

template <class F>
HALFTONE_INLINE void choose(bool value, F&& f) {
  if (value) {
    f(Constant<true>{});
  } else {
    f(Constant<false>{});
  }
}

// One case a row, so that a new operation is one line here, one in formula.h.
template <class F>
HALFTONE_INLINE void choose(Unary op, F&& f) {
  switch (op) {
    case Unary::kRelu:
      return f(Constant<Unary::kRelu>{});
    case Unary::kLeakyRelu:
      return f(Constant<Unary::kLeakyRelu>{});
    case Unary::kElu:
      return f(Constant<Unary::kElu>{});
    case Unary::kSigmoid:
      return f(Constant<Unary::kSigmoid>{});
    case Unary::kTanh:
      return f(Constant<Unary::kTanh>{});
    case Unary::kHardSigmoid:
      return f(Constant<Unary::kHardSigmoid>{});
    case Unary::kHardSwish:
      return f(Constant<Unary::kHardSwish>{});
    case Unary::kClip:
      return f(Constant<Unary::kClip>{});
    case Unary::kSoftplus:
      return f(Constant<Unary::kSoftplus>{});
    case Unary::kErf:
      return f(Constant<Unary::kErf>{});
    case Unary::kGelu:
      return f(Constant<Unary::kGelu>{});
    case Unary::kGeluTanh:
      return f(Constant<Unary::kGeluTanh>{});
    case Unary::kSqrt:
      return f(Constant<Unary::kSqrt>{});
    case Unary::kNeg:
      return f(Constant<Unary::kNeg>{});
    case Unary::kExp:
      return f(Constant<Unary::kExp>{});
    case Unary::kLog:
      return f(Constant<Unary::kLog>{});
    case Unary::kPowScalar:
      return f(Constant<Unary::kPowScalar>{});
    case Unary::kAbs:
      return f(Constant<Unary::kAbs>{});
    case Unary::kReciprocal:
      return f(Constant<Unary::kReciprocal>{});
    case Unary::kSilu:
      return f(Constant<Unary::kSilu>{});
    case Unary::kMinZero:
      return f(Constant<Unary::kMinZero>{});
    case Unary::kScale:
      return f(Constant<Unary::kScale>{});
    case Unary::kSin:
      return f(Constant<Unary::kSin>{});
    case Unary::kCos:
      return f(Constant<Unary::kCos>{});
    case Unary::kTan:
      return f(Constant<Unary::kTan>{});
    case Unary::kAsin:
      return f(Constant<Unary::kAsin>{});
    case Unary::kAcos:
      return f(Constant<Unary::kAcos>{});
    case Unary::kAtan:
      return f(Constant<Unary::kAtan>{});
    case Unary::kSinh:
      return f(Constant<Unary::kSinh>{});
    case Unary::kCosh:
      return f(Constant<Unary::kCosh>{});
    case Unary::kAsinh:
      return f(Constant<Unary::kAsinh>{});
    case Unary::kAcosh:
      return f(Constant<Unary::kAcosh>{});
    case Unary::kAtanh:
      return f(Constant<Unary::kAtanh>{});
    case Unary::kSoftsign:
      return f(Constant<Unary::kSoftsign>{});
    case Unary::kSelu:
      return f(Constant<Unary::kSelu>{});
    case Unary::kCelu:
      return f(Constant<Unary::kCelu>{});
    case Unary::kThresholdedRelu:
      return f(Constant<Unary::kThresholdedRelu>{});
    case Unary::kShrink:
      return f(Constant<Unary::kShrink>{});
    case Unary::kMish:
      return f(Constant<Unary::kMish>{});
    case Unary::kSwish:
      return f(Constant<Unary::kSwish>{});
    case Unary::kSign:
      return f(Constant<Unary::kSign>{});
    case Unary::kFloor:
      return f(Constant<Unary::kFloor>{});
    case Unary::kCeil:
      return f(Constant<Unary::kCeil>{});
    case Unary::kRound:
      return f(Constant<Unary::kRound>{});
  }
}
template <class F>
HALFTONE_INLINE void choose(Binary op, F&& f) {
  switch (op) {
    case Binary::kAdd:
      return f(Constant<Binary::kAdd>{});
    case Binary::kSub:
      return f(Constant<Binary::kSub>{});
    case Binary::kMul:
      return f(Constant<Binary::kMul>{});
    case Binary::kDiv:
      return f(Constant<Binary::kDiv>{});
    case Binary::kPow:
      return f(Constant<Binary::kPow>{});
    case Binary::kPRelu:
      return f(Constant<Binary::kPRelu>{});
    case Binary::kPReluSlope:
      return f(Constant<Binary::kPReluSlope>{});
    case Binary::kMin:
      return f(Constant<Binary::kMin>{});
    case Binary::kMax:
      return f(Constant<Binary::kMax>{});
    case Binary::kMinShare:
      return f(Constant<Binary::kMinShare>{});
    case Binary::kMaxShare:
      return f(Constant<Binary::kMaxShare>{});
    case Binary::kFmod:
      return f(Constant<Binary::kFmod>{});
    case Binary::kEqual:
      return f(Constant<Binary::kEqual>{});
    case Binary::kDivOrZero:
      return f(Constant<Binary::kDivOrZero>{});
  }
}
template <class F>
HALFTONE_INLINE void choose(Activation activation, F&& f) {
  switch (activation) {
    case Activation::kNone:
      return f(Constant<Activation::kNone>{});
    case Activation::kRelu:
      return f(Constant<Activation::kRelu>{});
    case Activation::kClip:
      return f(Constant<Activation::kClip>{});
  }
}
template <class F>
HALFTONE_INLINE void choose(Reduce op, F&& f) {
  switch (op) {
    case Reduce::kSum:
      return f(Constant<Reduce::kSum>{});
    case Reduce::kSumSquares:
      return f(Constant<Reduce::kSumSquares>{});
    case Reduce::kMax:
      return f(Constant<Reduce::kMax>{});
    case Reduce::kMin:
      return f(Constant<Reduce::kMin>{});
    case Reduce::kProduct:
      return f(Constant<Reduce::kProduct>{});
    case Reduce::kOneZeroProduct:
      return f(Constant<Reduce::kOneZeroProduct>{});
    case Reduce::kSumAbs:
      return f(Constant<Reduce::kSumAbs>{});
    case Reduce::kLogSumExp:
      return f(Constant<Reduce::kLogSumExp>{});
    case Reduce::kFirstMax:
      return f(Constant<Reduce::kFirstMax>{});
    case Reduce::kCountEqual:
      return f(Constant<Reduce::kCountEqual>{});
  }
}
template <class F>
HALFTONE_INLINE void choose(PointwiseLoss kind, F&& f) {
  switch (kind) {
    case PointwiseLoss::kSquaredError:
      return f(Constant<PointwiseLoss::kSquaredError>{});
    case PointwiseLoss::kBinaryCrossEntropy:
      return f(Constant<PointwiseLoss::kBinaryCrossEntropy>{});
    case PointwiseLoss::kBinaryCrossEntropyWithLogits:
      return f(Constant<PointwiseLoss::kBinaryCrossEntropyWithLogits>{});
  }
}
template <class F>
HALFTONE_INLINE void choose(Optimizer kind, F&& f) {
  switch (kind) {
    case Optimizer::kSgd:
      return f(Constant<Optimizer::kSgd>{});
    case Optimizer::kAdam:
      return f(Constant<Optimizer::kAdam>{});
    case Optimizer::kAdamW:
      return f(Constant<Optimizer::kAdamW>{});
    case Optimizer::kRmsProp:
      return f(Constant<Optimizer::kRmsProp>{});
    case Optimizer::kLion:
      return f(Constant<Optimizer::kLion>{});
  }
}
template <class F>
HALFTONE_INLINE void choose(Rounding rounding, F&& f) {
  switch (rounding) {
    case Rounding::kNearest:
      return f(Constant<Rounding::kNearest>{});
    case Rounding::kStochastic:
      return f(Constant<Rounding::kStochastic>{});
    case Rounding::kKahan:
      return f(Constant<Rounding::kKahan>{});
  }
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
