// exp, log, tanh, erf and their kin in fp32: one sequence of correctly rounded operations (+ - * / fma and
// moves of bits) for a scalar lane and for a vector of lanes, so that every instruction set gives the same
// bits. FTZ/DAZ or not: a subnormal argument counts as zero where that matters (log), a result below 2^-126
// is zero. NaN gives NaN. Largest errors, found by tests/kern/math_test.cpp over all or dense fp32 arguments
// (that test fails if they are exceeded):
//
//   exp       1.1 ULP   overflows to infinity above 88.7228, 0 below -87.3365
//   expm1_negative  2 ULP  exp(x) - 1 for x <= 0; -1 towards -infinity
//   log       1 ULP     log(0) and log(subnormal) = -infinity, log(x < 0) = NaN, log(infinity) = infinity
//   log1p01   2 ULP     log(1 + u) for 0 <= u <= 1
//   sigmoid   3 ULP     0 below about -88, 1 towards infinity
//   softplus  2 ULP     log(1 + exp(x)) without overflow
//   tanh      3 ULP     keeps the sign of zero
//   erf       2 ULP     keeps the sign of zero
//   pow       3 ULP     the special cases of C's pow; a subnormal base counts as zero
//
// Polynomials are weighted minimax fits (Lawson's iteration on Chebyshev points, 160-bit arithmetic), rounded
// to fp32 coefficient by coefficient; the interval, the weight and the error before rounding stand beside
// each. In double (the oracle) the C library's functions are used.
#pragma once

#include "kern/lane/lane.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// The oracle. Declared first: a template finds only what stands before it.
HALFTONE_INLINE double exp(double x) {
  return __builtin_exp(x);
}
HALFTONE_INLINE double expm1_negative(double x) {
  return __builtin_expm1(x);
}
HALFTONE_INLINE double log(double x) {
  return __builtin_log(x);
}
HALFTONE_INLINE double log1p01(double x) {
  return __builtin_log1p(x);
}
HALFTONE_INLINE double tanh(double x) {
  return __builtin_tanh(x);
}
HALFTONE_INLINE double erf(double x) {
  return __builtin_erf(x);
}
HALFTONE_INLINE double pow(double x, double y) {
  return __builtin_pow(x, y);
}

inline constexpr float kInfinity = __builtin_inff();
inline constexpr float kQuietNan = __builtin_nanf("");
inline constexpr float kExpMax = 88.72283F;   // the largest fp32 whose exp is finite
inline constexpr float kExpMin = -87.33654F;  // the smallest whose exp is normal
// ln 2 in two parts: the first has 15 significant bits, so its product with an exponent is exact.
inline constexpr float kLn2High = 0x1.62e4p-1F;
inline constexpr float kLn2Low = 0x1.7f7d1cp-20F;
inline constexpr float kLog2E = 0x1.715476p+0F;
// Adding this rounds a float of magnitude below 2^22 to a whole number, which then stands in the low bits.
inline constexpr float kRound = 12582912.0F;  // 1.5 * 2^23
// An fp32 value with exponent and significand split at sqrt(1/2): bits above this belong to the next
// exponent.
inline constexpr uint32_t kSqrtHalf = 0x3F3504F3U;

// x = n ln2 + r, |r| <= ln2 / 2, for kExpMin <= x <= kExpMax: `power` holds n in its low bits, p = exp(r)
// - 1.
template <class V>
struct ExpParts {
  decltype(bits(V())) power;
  V n;
  V p;
};
template <class V>
HALFTONE_INLINE ExpParts<V> exp_parts(V x, V low) {
  const V shifted = fma(x, V(kLog2E), V(kRound));
  const V n = shifted - V(kRound);
  V r = fma(n, V(-kLn2High), x);
  r = fma(n, V(-kLn2Low), r) + low;
  // (expm1(r) - r) / r^2 on |r| <= 0.347, relative to expm1: 2^-26.2.
  V q = V(0x1.6bebe8p-10F);
  q = fma(q, r, V(0x1.1227f8p-7F));
  q = fma(q, r, V(0x1.555674p-5F));
  q = fma(q, r, V(0x1.5554b0p-3F));
  q = fma(q, r, V(0x1.fffffep-2F));
  return {bits(shifted) << 23, n, fma(r * r, q, r)};
}

// exp(x + low), |low| tiny.
template <class V>
HALFTONE_INLINE V exp_sum(V x, V low) {
  // Outside [kExpMin, kExpMax] and for NaN the parts are those of 0: nothing in between can overflow.
  const auto inside = (x >= V(kExpMin)) & (x <= V(kExpMax));
  const ExpParts<V> parts = exp_parts(select(inside, x, V(0.0F)), select(inside, low, V(0.0F)));
  // exp(r) is in [0.70, 1.42]; adding n to its exponent stays normal within these bounds.
  const V y = from_bits(bits(parts.p + V(1.0F)) + parts.power);
  const V outside = select(x > V(0.0F), V(kInfinity), select(x < V(0.0F), V(0.0F), x));
  return select(inside, y, outside);
}
template <class V>
HALFTONE_INLINE V exp(V x) {
  return exp_sum(x, V(0.0F));
}

// exp(x) - 1 for x <= 0. Below -17.4 it rounds to -1.
template <class V>
HALFTONE_INLINE V expm1_negative(V x) {
  const auto inside = (x >= V(-20.0F)) & (x <= V(0.0F));
  const ExpParts<V> parts = exp_parts(select(inside, x, V(0.0F)), V(0.0F));
  const V power = from_bits(bits(V(1.0F)) + parts.power);
  const V y = fma(power, parts.p, power - V(1.0F));
  return select(inside, y, select(x < V(0.0F), V(-1.0F), x));
}

// log of a positive normal x as exponent and the parts of log(m), m in [sqrt(1/2), sqrt(2)).
template <class V>
struct LogParts {
  V e;
  V m;
};
template <class V>
HALFTONE_INLINE LogParts<V> log_parts(V x) {
  const auto shifted = bits(x) + decltype(bits(x))(0x3F800000U - kSqrtHalf);
  const auto mantissa = (shifted & decltype(bits(x))(0x007FFFFFU)) + decltype(bits(x))(kSqrtHalf);
  return {to_float(shifted >> 23) - V(127.0F), from_bits(mantissa)};
}
template <class V>
HALFTONE_INLINE V log_positive(V x) {
  const LogParts<V> parts = log_parts(x);
  const V f = parts.m - V(1.0F);
  const V s = f / (f + V(2.0F));
  const V z = s * s;
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 for s^2 in [0, 0.02944], error times s^2: 2^-36.6.
  V r = V(0x1.e2f664p-3F);
  r = fma(r, z, V(0x1.2438d8p-2F));
  r = fma(r, z, V(0x1.999a7ap-2F));
  r = fma(r, z, V(0x1.555554p-1F));
  const V half_square = V(0.5F) * (f * f);
  // log m = f - (f^2 / 2 - s (f^2 / 2 + z r)); the large terms are added last.
  const V low = fma(s, fma(z, r, half_square), parts.e * V(kLn2Low));
  return fma(parts.e, V(kLn2High), f - (half_square - low));
}
template <class V>
HALFTONE_INLINE V log(V x) {
  const auto positive = (x >= V(0x1p-126F)) & (x < V(kInfinity));
  const V y = log_positive(select(positive, x, V(1.0F)));
  // Left: infinity and NaN give themselves, below 2^-126 counts as zero, negative is NaN.
  const V outside = select(x >= V(0x1p-126F), x,
                           select(x <= V(-0x1p-126F), V(kQuietNan), select(x == x, V(-kInfinity), x)));
  return select(positive, y, outside);
}

// log(1 + u), 0 <= u <= 1: the rounding error of w = 1 + u is put back as (u - (w - 1)) / w.
template <class V>
HALFTONE_INLINE V log1p01(V u) {
  const V w = u + V(1.0F);
  return log_positive(w) + (u - (w - V(1.0F))) / w;
}

template <class V>
HALFTONE_INLINE V sigmoid(V x) {
  return V(1.0F) / (V(1.0F) + exp(V(0.0F) - x));
}
// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)).
template <class V>
HALFTONE_INLINE V softplus(V x) {
  const V rest = log1p01(exp(V(0.0F) - abs(x)));
  return select(x == x, select(x > V(0.0F), x, V(0.0F)) + rest, x);
}
template <class V>
HALFTONE_INLINE V tanh(V x) {
  // expm1(2a) / (expm1(2a) + 2), a = |x|; from 10 on 1 - tanh is below a quarter of the last place.
  const V a = abs(x);
  const auto inside = a < V(10.0F);
  const ExpParts<V> parts = exp_parts(select(inside, a + a, V(0.0F)), V(0.0F));
  const V power = from_bits(bits(V(1.0F)) + parts.power);
  const V e = fma(power, parts.p, power - V(1.0F));
  const V y = select(inside, e / (e + V(2.0F)), V(1.0F));
  return select(x == x, copysign(y, x), x);
}
template <class V>
HALFTONE_INLINE V erf(V x) {
  const V t = abs(x);
  const V s = x * x;
  // erf(x) / x - 1 in x^2 for |x| <= 0.925, relative to erf / x: 2^-31.1.
  V p = V(0x1.5e352cp-14F);
  p = fma(p, s, V(-0x1.aaa868p-11F));
  p = fma(p, s, V(0x1.54d3aap-8F));
  p = fma(p, s, V(-0x1.b80fc2p-6F));
  p = fma(p, s, V(0x1.ce2e18p-4F));
  p = fma(p, s, V(-0x1.812744p-2F));
  p = fma(p, s, V(0x1.06eba8p-3F));
  const V small = fma(x, p, x);
  // log(erfc(t)) / t + 1 for 0.925 <= t <= 4, error as it reaches erf: 2^-30.4. erf rounds to 1 from 3.92 on.
  V q = V(-0x1.7f5228p-17F);
  q = fma(q, t, V(0x1.54817ap-12F));
  q = fma(q, t, V(-0x1.de73bap-9F));
  q = fma(q, t, V(0x1.8596e4p-6F));
  q = fma(q, t, V(-0x1.b339a4p-4F));
  q = fma(q, t, V(-0x1.453106p-1F));
  q = fma(q, t, V(-0x1.077a5ep-3F));
  const V far = select(t < V(4.0F), V(1.0F) - exp(fma(q, t, V(0.0F) - t)), V(1.0F));
  return select(x == x, select(t <= V(0.925F), small, copysign(far, x)), x);
}

// x^y = exp(y log|x|) with log|x| in two floats, then the special cases of C's pow.
template <class V>
HALFTONE_INLINE V pow(V x, V y) {
  const V ax = abs(x);
  const auto normal = (ax >= V(0x1p-126F)) & (ax < V(kInfinity));
  const LogParts<V> parts = log_parts(select(normal, ax, V(1.0F)));
  // q + q_low = (m - 1) / (m + 1) to about 45 bits.
  const V f = parts.m - V(1.0F);
  const V u = parts.m + V(1.0F);
  const V u_low = parts.m - (u - V(1.0F));
  const V q = f / u;
  const V q_low = fma(V(0.0F) - q, u_low, fma(V(0.0F) - q, u, f)) / u;
  const V z = q * q;
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 as in log, one term more: 2^-43.9.
  V s = V(0x1.9114d8p-3F);
  s = fma(s, z, V(0x1.c62b20p-3F));
  s = fma(s, z, V(0x1.249412p-2F));
  s = fma(s, z, V(0x1.999996p-2F));
  s = fma(s, z, V(0x1.555556p-1F));
  // log|x| = e ln2 + 2 q + (2 q_low + q^3 s): the first two are added exactly, since e ln2 is 0 or larger
  // than 2 q.
  const V big = parts.e * V(kLn2High);
  const V two_q = q + q;
  const V sum = big + two_q;
  const V rest = (two_q - (sum - big)) + fma(parts.e, V(kLn2Low), fma(q * z, s, q_low + q_low));
  const V log_high = sum + rest;
  const V log_low = rest - (log_high - sum);
  const V t = y * log_high;
  const V t_low = fma(y, log_low, fma(y, log_high, V(0.0F) - t));
  V result = exp_sum(t, t_low);

  // Whole and odd exponents; from 2^24 on every float is whole and even.
  const auto whole = rint(y) == y;
  const V half = y * V(0.5F);
  const auto odd = whole & (rint(half) != half);
  const V zero = V(0.0F);
  const V one = V(1.0F);
  // |x| = 0 (or subnormal) and infinity: y > 0 keeps, y < 0 inverts.
  const auto is_zero = ax < V(0x1p-126F);
  const auto is_infinite = ax == V(kInfinity);
  result = select((is_zero & (y > zero)) | (is_infinite & (y < zero)), zero, result);
  result = select((is_zero & (y < zero)) | (is_infinite & (y > zero)), V(kInfinity), result);
  // y = +-infinity: |x| < 1 or > 1 decides, |x| = 1 gives 1.
  const auto y_infinite = abs(y) == V(kInfinity);
  const V grows = select(y > zero, V(kInfinity), zero);
  const V shrinks = select(y > zero, zero, V(kInfinity));
  result = select(y_infinite, select(ax > one, grows, select(ax < one, shrinks, one)), result);
  // The sign bit of x counts for odd exponents; other negative bases (not infinity or zero) need a whole
  // exponent.
  const V sign = copysign(one, x);
  result = select(odd & (sign < zero), V(-0.0F) - result, result);
  result = select((x <= V(-0x1p-126F)) & (ax < V(kInfinity)) & (rint(y) != y), V(kQuietNan), result);
  result = select(x == x, select(y == y, result, y), x);
  return select((x == one) | (y == zero), one, result);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
