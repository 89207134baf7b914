// The formulas of the element-wise kernels, losses and optimizers for one lane type V: float or double
// (lane/scalar.h) or a vector of floats. What a kernel computes stands here once; how it walks over memory
// stands in ref/ and simd/.
#pragma once

#include "kern/kernels.h"
#include "kern/lane/math.h"
#include "kern/pointwise.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// min(max(t, 0), 1); NaN stays.
template <class V>
HALFTONE_INLINE V clamp01(V t) {
  t = select(t < V(0.0F), V(0.0F), t);
  return select(t > V(1.0F), V(1.0F), t);
}

// tanh(softplus(x)) = n / (n + 2), n = e^x (e^x + 2), and its derivative. From 20 on they are 1 and 0 in
// fp32, from 40 in fp64.
template <class V>
struct Gate {
  V value;
  V slope;
};
template <class V>
HALFTONE_INLINE Gate<V> mish_gate(V x) {
  const V two = V(2.0F);
  const auto near = x < V(40.0F);
  const V e = exp(select(near, x, V(0.0F)));
  const V n = e * (e + two);
  const V rest = two / (n + two);  // 1 - value
  const V value = n / (n + two);
  const V slope = (rest * (two - rest)) * (e / (V(1.0F) + e));
  return {select(near, value, select(x == x, V(1.0F), x)), select(near, slope, V(0.0F))};
}

// Of 0 it is 0, of NaN NaN.
template <class V>
HALFTONE_INLINE V sign_of(V x) {
  return select(x > V(0.0F), V(1.0F), select(x < V(0.0F), V(-1.0F), x));
}
template <class V>
HALFTONE_INLINE V floor_of(V x) {
  const V r = rint(x);
  return select(r > x, r - V(1.0F), r);
}

// ---------------------------------------------------------------- y = f(x)
template <Unary op, class V>
HALFTONE_INLINE V unary_value(V x, V alpha, V beta) {
  const V zero = V(0.0F);
  const V one = V(1.0F);
  if constexpr (op == Unary::kRelu) {
    return select(x < zero, zero, x);
  } else if constexpr (op == Unary::kLeakyRelu) {
    return select(x < zero, alpha * x, x);
  } else if constexpr (op == Unary::kElu) {
    return select(x < zero, alpha * expm1_negative(x), x);
  } else if constexpr (op == Unary::kSigmoid) {
    return sigmoid(x);
  } else if constexpr (op == Unary::kTanh) {
    return tanh(x);
  } else if constexpr (op == Unary::kHardSigmoid) {
    return clamp01(fma(alpha, x, beta));
  } else if constexpr (op == Unary::kHardSwish) {
    return x * clamp01(fma(alpha, x, beta));
  } else if constexpr (op == Unary::kClip) {
    const V low = select(x < alpha, alpha, x);
    return select(low > beta, beta, low);
  } else if constexpr (op == Unary::kSoftplus) {
    return softplus(x);
  } else if constexpr (op == Unary::kErf) {
    return erf(x);
  } else if constexpr (op == Unary::kGelu) {
    return (V(0.5F) * x) * (one + erf(x * V(0.70710678118654752)));
  } else if constexpr (op == Unary::kGeluTanh) {
    const V inner = V(0.79788456080286536) * fma(V(0.044715) * x, x * x, x);  // sqrt(2 / pi)
    return (V(0.5F) * x) * (one + tanh(inner));
  } else if constexpr (op == Unary::kSqrt) {
    return sqrt(x);
  } else if constexpr (op == Unary::kNeg) {
    return V(-0.0F) - x;
  } else if constexpr (op == Unary::kExp) {
    return exp(x);
  } else if constexpr (op == Unary::kLog) {
    return log(x);
  } else if constexpr (op == Unary::kPowScalar) {
    // The common exponents exactly.
    const V general = pow(x, alpha);
    return select(alpha == V(2.0F), x * x, select(alpha == one, x, general));
  } else if constexpr (op == Unary::kAbs) {
    return abs(x);
  } else if constexpr (op == Unary::kReciprocal) {
    return one / x;
  } else if constexpr (op == Unary::kSilu) {
    return x * sigmoid(x);
  } else if constexpr (op == Unary::kMinZero) {
    return select(x > zero, zero, x);
  } else if constexpr (op == Unary::kScale) {
    return fma(alpha, x, beta);
  } else if constexpr (op == Unary::kSin) {
    return sin(x);
  } else if constexpr (op == Unary::kCos) {
    return cos(x);
  } else if constexpr (op == Unary::kTan) {
    return tan(x);
  } else if constexpr (op == Unary::kAsin) {
    return asin(x);
  } else if constexpr (op == Unary::kAcos) {
    return acos(x);
  } else if constexpr (op == Unary::kAtan) {
    return atan(x);
  } else if constexpr (op == Unary::kSinh) {
    return sinh(x);
  } else if constexpr (op == Unary::kCosh) {
    return cosh(x);
  } else if constexpr (op == Unary::kAsinh) {
    return asinh(x);
  } else if constexpr (op == Unary::kAcosh) {
    return acosh(x);
  } else if constexpr (op == Unary::kAtanh) {
    return atanh(x);
  } else if constexpr (op == Unary::kSoftsign) {
    return x / (one + abs(x));
  } else if constexpr (op == Unary::kSelu) {
    return beta * select(x < zero, alpha * expm1_negative(x), x);
  } else if constexpr (op == Unary::kCelu) {
    return select(x < zero, alpha * expm1_negative(x / alpha), x);
  } else if constexpr (op == Unary::kThresholdedRelu) {
    return select(x <= alpha, zero, x);
  } else if constexpr (op == Unary::kShrink) {
    // Both sides first: a negative beta would let them overlap, and ONNX asks for the lower one first.
    const V upper = select(x <= beta, zero, x - alpha);
    return select(x < zero - beta, x + alpha, upper);
  } else if constexpr (op == Unary::kMish) {
    return x * mish_gate(x).value;
  } else if constexpr (op == Unary::kSwish) {
    return x * sigmoid(alpha * x);
  } else if constexpr (op == Unary::kSign) {
    return sign_of(x);
  } else if constexpr (op == Unary::kFloor) {
    return floor_of(x);
  } else if constexpr (op == Unary::kCeil) {
    const V r = rint(x);
    return select(r < x, copysign(r + one, x), r);
  } else {
    static_assert(op == Unary::kRound);
    return rint(x);
  }
}

// ---------------------------------------------------------------- dx = dy f'(x); `s` is y where
// gradient_reads_y(op), else x At a kink the derivative is the one of PyTorch: 0 for Relu at 0, the slope
// alpha for LeakyRelu and Elu at 0, dy at Clip's bounds.
template <Unary op, class V>
HALFTONE_INLINE V unary_gradient(V s, V dy, V alpha, V beta) {
  const V zero = V(0.0F);
  const V one = V(1.0F);
  if constexpr (op == Unary::kRelu) {
    return select(s <= zero, zero, dy);
  } else if constexpr (op == Unary::kLeakyRelu) {
    return select(s > zero, dy, alpha * dy);
  } else if constexpr (op == Unary::kElu) {
    return select(s > zero, dy, (alpha * exp(s)) * dy);
  } else if constexpr (op == Unary::kSigmoid) {
    return dy * fma(zero - s, s, s);
  } else if constexpr (op == Unary::kTanh) {
    return dy * fma(zero - s, s, one);
  } else if constexpr (op == Unary::kHardSigmoid) {
    const V t = fma(alpha, s, beta);
    return select((t > zero) & (t < one), alpha * dy, zero);
  } else if constexpr (op == Unary::kHardSwish) {
    const V t = fma(alpha, s, beta);
    return select(t <= zero, zero, select(t >= one, dy, dy * fma(alpha + alpha, s, beta)));
  } else if constexpr (op == Unary::kClip) {
    return select((s >= alpha) & (s <= beta), dy, zero);
  } else if constexpr (op == Unary::kSoftplus) {
    return dy * sigmoid(s);
  } else if constexpr (op == Unary::kErf) {
    return dy * (V(1.1283791670955126) * exp(zero - s * s));  // 2 / sqrt(pi)
  } else if constexpr (op == Unary::kGelu) {
    const V cdf = V(0.5F) * (one + erf(s * V(0.70710678118654752)));
    const V pdf = V(0.39894228040143268) * exp(V(-0.5F) * (s * s));  // 1 / sqrt(2 pi)
    return dy * fma(s, pdf, cdf);
  } else if constexpr (op == Unary::kGeluTanh) {
    const V square = s * s;
    const V t = tanh(V(0.79788456080286536) * fma(V(0.044715) * s, square, s));
    const V slope = V(0.79788456080286536) * fma(V(0.134145), square, one);
    const V half = V(0.5F);
    return dy * fma((half * s) * fma(zero - t, t, one), slope, half * (one + t));
  } else if constexpr (op == Unary::kSqrt) {
    return (V(0.5F) * dy) / s;
  } else if constexpr (op == Unary::kNeg) {
    return V(-0.0F) - dy;
  } else if constexpr (op == Unary::kExp) {
    return dy * s;
  } else if constexpr (op == Unary::kLog) {
    return dy / s;
  } else if constexpr (op == Unary::kPowScalar) {
    const V general = alpha * pow(s, alpha - one);
    return dy * select(alpha == V(2.0F), s + s, select(alpha == one, one, general));
  } else if constexpr (op == Unary::kAbs) {
    return select(s > zero, dy, select(s < zero, V(-0.0F) - dy, zero));
  } else if constexpr (op == Unary::kReciprocal) {
    return (V(-0.0F) - dy) * (s * s);
  } else if constexpr (op == Unary::kSilu) {
    const V g = sigmoid(s);
    return dy * (g * fma(s, one - g, one));
  } else if constexpr (op == Unary::kMinZero) {
    return select(s < zero, dy, zero);
  } else if constexpr (op == Unary::kScale) {
    return alpha * dy;
  } else if constexpr (op == Unary::kSin) {
    return dy * cos(s);
  } else if constexpr (op == Unary::kCos) {
    return dy * (V(-0.0F) - sin(s));
  } else if constexpr (op == Unary::kTan) {
    return dy * fma(s, s, one);
  } else if constexpr (op == Unary::kAsin) {
    return dy / sqrt((one - s) * (one + s));
  } else if constexpr (op == Unary::kAcos) {
    return (V(-0.0F) - dy) / sqrt((one - s) * (one + s));
  } else if constexpr (op == Unary::kAtan) {
    return dy / fma(s, s, one);
  } else if constexpr (op == Unary::kSinh) {
    return dy * cosh(s);
  } else if constexpr (op == Unary::kCosh) {
    return dy * sinh(s);
  } else if constexpr (op == Unary::kAsinh) {
    return dy / sqrt(fma(s, s, one));
  } else if constexpr (op == Unary::kAcosh) {
    return dy / sqrt((s - one) * (s + one));
  } else if constexpr (op == Unary::kAtanh) {
    return dy / ((one - s) * (one + s));
  } else if constexpr (op == Unary::kSoftsign) {
    const V d = one + abs(s);
    return dy / (d * d);
  } else if constexpr (op == Unary::kSelu) {
    return (beta * dy) * select(s > zero, one, alpha * exp(s));
  } else if constexpr (op == Unary::kCelu) {
    return select(s > zero, dy, dy * exp(s / alpha));
  } else if constexpr (op == Unary::kThresholdedRelu) {
    return select(s <= alpha, zero, dy);
  } else if constexpr (op == Unary::kShrink) {
    return select((s >= zero - beta) & (s <= beta), zero, dy);
  } else if constexpr (op == Unary::kMish) {
    const Gate<V> gate = mish_gate(s);
    return dy * fma(s, gate.slope, gate.value);
  } else if constexpr (op == Unary::kSwish) {
    const V g = sigmoid(alpha * s);
    return dy * (g * fma(alpha * s, one - g, one));
  } else {
    // Steps: their derivative is 0 wherever there is one, and PyTorch's is 0 everywhere.
    static_assert(op == Unary::kSign || op == Unary::kFloor || op == Unary::kCeil || op == Unary::kRound);
    return zero * dy;
  }
}

// ---------------------------------------------------------------- activations behind a per-channel affine
template <Activation activation, class V>
HALFTONE_INLINE V activated(V z, V low, V high) {
  if constexpr (activation == Activation::kRelu) return unary_value<Unary::kRelu>(z, low, high);
  if constexpr (activation == Activation::kClip) return unary_value<Unary::kClip>(z, low, high);
  return z;
}
// dy, as far as the activation of s lets it through.
template <Activation activation, class V>
HALFTONE_INLINE V passed_back(V s, V dy, V low, V high) {
  if constexpr (activation == Activation::kRelu) return unary_gradient<Unary::kRelu>(s, dy, low, high);
  if constexpr (activation == Activation::kClip) return unary_gradient<Unary::kClip>(s, dy, low, high);
  return dy;
}

// The larger one; a NaN wins and stays (a comparison with NaN is false).
template <class V>
HALFTONE_INLINE V larger(V best, V x) {
  return select((x > best) | (x != x), x, best);
}
template <class V>
HALFTONE_INLINE V smaller(V best, V x) {
  return select((x < best) | (x != x), x, best);
}

// ---------------------------------------------------------------- y = op(a, b)
template <Binary op, class V>
HALFTONE_INLINE V binary_value(V a, V b) {
  if constexpr (op == Binary::kAdd) {
    return a + b;
  } else if constexpr (op == Binary::kSub) {
    return a - b;
  } else if constexpr (op == Binary::kMul) {
    return a * b;
  } else if constexpr (op == Binary::kDiv) {
    return a / b;
  } else if constexpr (op == Binary::kPow) {
    return pow(a, b);
  } else if constexpr (op == Binary::kPRelu) {
    return select(a < V(0.0F), a * b, a);
  } else if constexpr (op == Binary::kPReluSlope) {
    return select(a < V(0.0F), b, V(1.0F));
  } else if constexpr (op == Binary::kMin) {
    return smaller(a, b);
  } else if constexpr (op == Binary::kMax) {
    return larger(a, b);
  } else if constexpr (op == Binary::kMinShare || op == Binary::kMaxShare) {
    const V wins = op == Binary::kMaxShare ? V(1.0F) : V(0.0F);
    const V ordered = select(a > b, wins, select(a < b, V(1.0F) - wins, V(0.5F)));
    return select((a == a) & (b == b), ordered, V(kQuietNan));
  } else if constexpr (op == Binary::kFmod) {
    return fmod(a, b);
  } else if constexpr (op == Binary::kEqual) {
    return select(a == b, V(1.0F), V(0.0F));
  } else {
    static_assert(op == Binary::kDivOrZero);
    return select(b == V(0.0F), V(0.0F), a / b);
  }
}

// ---------------------------------------------------------------- losses
template <class V>
struct LossValue {
  V loss;
  V slope;  // d loss / d x
};
template <PointwiseLoss kind, class V>
HALFTONE_INLINE LossValue<V> pointwise_value(V x, V t) {
  const V zero = V(0.0F);
  const V one = V(1.0F);
  if constexpr (kind == PointwiseLoss::kSquaredError) {
    const V d = x - t;
    return {d * d, d + d};
  } else if constexpr (kind == PointwiseLoss::kBinaryCrossEntropy) {
    // Both logarithms bounded below by -100, the slope's denominator by 1e-12 (PyTorch's bounds); NaN stays.
    const V floor = V(-100.0F);
    V log_x = log(x);
    V log_rest = log(one - x);
    log_x = select(log_x < floor, floor, log_x);
    log_rest = select(log_rest < floor, floor, log_rest);
    V denominator = (one - x) * x;
    denominator = select(denominator < V(1e-12F), V(1e-12F), denominator);
    return {fma(t - one, log_rest, zero - t * log_x), (x - t) / denominator};
  } else {
    static_assert(kind == PointwiseLoss::kBinaryCrossEntropyWithLogits);
    return {fma(one - t, x, softplus(zero - x)), sigmoid(x) - t};
  }
}

// ---------------------------------------------------------------- optimizers
// The scalars of a step in the register type R, derived once a call.
template <class R>
struct OptimizerScalars {
  R grad_scale, weight_decay;
  R minus_lr;  // -lr, for Adam(W) -lr / c1
  R decay;     // AdamW, Lion: -(lr * weight_decay)
  R momentum;
  R beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  R root_correction;  // 1 / sqrt(c2)
  R read_scale, state_scale;
};
template <class R>
HALFTONE_INLINE OptimizerScalars<R> optimizer_scalars(const OptimizerArgs& a) {
  OptimizerScalars<R> s;
  s.grad_scale = R(a.grad_scale);
  s.weight_decay = R(a.weight_decay);
  const bool adam = a.kind == Optimizer::kAdam || a.kind == Optimizer::kAdamW;
  s.minus_lr = adam ? -R(a.lr) / R(a.correction1) : -R(a.lr);
  s.decay = -(R(a.lr) * R(a.weight_decay));
  s.momentum = R(a.momentum);
  s.beta1 = R(a.beta1);
  s.one_minus_beta1 = R(1.0 - a.beta1);
  s.beta2 = R(a.beta2);
  s.one_minus_beta2 = R(1.0 - a.beta2);
  s.eps = R(a.eps);
  s.root_correction = adam ? R(1) / sqrt(R(a.correction2)) : R(1);
  s.read_scale = R(a.read_scale);
  s.state_scale = R(a.state_scale);
  return s;
}

// Which arrays a step reads and writes.
constexpr bool uses_m(Optimizer kind, bool has_momentum) {
  return kind == Optimizer::kAdam || kind == Optimizer::kAdamW || kind == Optimizer::kLion || has_momentum;
}
constexpr bool uses_v(Optimizer kind) {
  return kind != Optimizer::kSgd && kind != Optimizer::kLion;
}

// One step of one lane. m and v_root come as stored times read_scale and leave ready to be stored (times
// state_scale); `update` is what the weight is to change by, before the carry.
template <Optimizer kind, bool has_momentum, class V, class R>
HALFTONE_INLINE V optimizer_update(const OptimizerScalars<R>& s, bool decays, bool nesterov, V w, V grad,
                                   V& m, V& v_root) {
  V g = grad * V(s.grad_scale);
  constexpr bool kDecoupled = kind == Optimizer::kAdamW || kind == Optimizer::kLion;
  if (!kDecoupled && decays) g = fma(V(s.weight_decay), w, g);
  V d = g;
  if constexpr (uses_v(kind)) {
    const V old_root = v_root * V(s.read_scale);
    const V v = fma(V(s.beta2), old_root * old_root, V(s.one_minus_beta2) * (g * g));
    const V root = sqrt(v);
    v_root = root * V(s.state_scale);
    if constexpr (kind == Optimizer::kRmsProp) {
      d = g / (root + V(s.eps));
    } else {
      const V next = fma(V(s.beta1), m * V(s.read_scale), V(s.one_minus_beta1) * g);
      m = next * V(s.state_scale);
      d = next / fma(root, V(s.root_correction), V(s.eps));
    }
  }
  if constexpr ((kind == Optimizer::kSgd || kind == Optimizer::kRmsProp) && has_momentum) {
    const V next = fma(V(s.momentum), m * V(s.read_scale), d);
    m = next * V(s.state_scale);
    d = kind == Optimizer::kSgd && nesterov ? fma(V(s.momentum), next, d) : next;
  }
  if constexpr (kind == Optimizer::kLion) {
    const V before = m * V(s.read_scale);
    d = sign_of(fma(V(s.beta1), before, V(s.one_minus_beta1) * g));
    m = fma(V(s.beta2), before, V(s.one_minus_beta2) * g) * V(s.state_scale);
  }
  const V step = V(s.minus_lr) * d;
  if constexpr (kDecoupled) return fma(V(s.decay), w, step);
  return step;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
