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
//   sin, cos  2 ULP     for every finite argument; NaN of infinities; sin keeps the sign of zero
//   tan       4 ULP     as sin
//   asin      2 ULP     NaN beyond -1 and 1; keeps the sign of zero
//   acos      2 ULP     NaN beyond -1 and 1
//   atan      3 ULP     pi / 2 towards infinity; keeps the sign of zero
//   sinh      4 ULP     infinity from 89.4160 on; keeps the sign of zero
//   cosh      4 ULP     infinity from 89.4160 on
//   asinh     4 ULP     keeps the sign of zero
//   acosh     4 ULP     NaN below 1
//   atanh     4 ULP     infinity at 1, NaN beyond; keeps the sign of zero
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
HALFTONE_INLINE double sin(double x) {
  return __builtin_sin(x);
}
HALFTONE_INLINE double cos(double x) {
  return __builtin_cos(x);
}
HALFTONE_INLINE double tan(double x) {
  return __builtin_tan(x);
}
HALFTONE_INLINE double asin(double x) {
  return __builtin_asin(x);
}
HALFTONE_INLINE double acos(double x) {
  return __builtin_acos(x);
}
HALFTONE_INLINE double atan(double x) {
  return __builtin_atan(x);
}
HALFTONE_INLINE double sinh(double x) {
  return __builtin_sinh(x);
}
HALFTONE_INLINE double cosh(double x) {
  return __builtin_cosh(x);
}
HALFTONE_INLINE double asinh(double x) {
  return __builtin_asinh(x);
}
HALFTONE_INLINE double acosh(double x) {
  return __builtin_acosh(x);
}
HALFTONE_INLINE double atanh(double x) {
  return __builtin_atanh(x);
}
// Exact in every type.
HALFTONE_INLINE double fmod(double x, double y) {
  return __builtin_fmod(x, y);
}
HALFTONE_INLINE float fmod(float x, float y) {
  return __builtin_fmodf(x, y);
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

// ---------------------------------------------------------------- angles
// pi / 2 in three parts; what is left is below 2^-76.
inline constexpr float kHalfPiHigh = 0x1.921fb6p+0F;
inline constexpr float kHalfPiMiddle = -0x1.777a5cp-25F;
inline constexpr float kHalfPiLow = -0x1.ee59dap-50F;
inline constexpr float kTwoOverPi = 0x1.45f306p-1F;
// Up to here the number of quarter turns is known to the last digit from one product in fp32.
inline constexpr float kFarAngle = 0x1p17F;

// x = quadrant pi / 2 + r, |r| <= pi / 4, for kFarAngle < |x| < infinity: x times the digits of 2 / pi that
// matter, as whole numbers (Payne and Hanek). All quarter turns but the last two bits fall out.
[[gnu::noinline]] static void far_angle(float x, float* r, uint32_t* quadrant) {
  static constexpr uint32_t kDigits[7] = {0xA2F9836EU, 0x4E441529U, 0xFC2757D1U, 0xF534DDC0U,
                                          0xDB629599U, 0x3C439041U, 0xFE5163ABU};  // 2 / pi = 0.101000101...
  const uint64_t significand = (bits(x) & 0x007FFFFFU) | 0x00800000U;
  const int exponent = static_cast<int>((bits(x) >> 23) & 0xFFU) - 150;  // |x| = significand 2^exponent
  // From the digit on whose product with the significand counts 2 whole quarter turns: those before it give
  // multiples of 4.
  const int skip = exponent > 2 ? exponent - 2 : 0;
  uint32_t window[3];
  for (int i = 0; i < 3; ++i) {
    const int word = skip / 32 + i;
    const uint64_t pair = static_cast<uint64_t>(kDigits[word]) << 32 | kDigits[word + 1];
    window[i] = static_cast<uint32_t>(pair << (skip % 32) >> 32);
  }
  // significand * 0.window: `high` in units of 2^-32 and below 2^56, what follows in units of 2^-64.
  const uint64_t low = significand * window[2];
  const uint64_t middle = significand * window[1] + (low >> 32);
  const uint64_t high = significand * window[0] + (middle >> 32);
  // Times 2^shift, from 2^-6 to 4: whole quarter turns, and the rest in units of 2^-64, from -1/2 to 1/2.
  const int shift = exponent - skip;
  const uint64_t fraction = high << 32 | (middle & 0xFFFFFFFFU);
  uint64_t whole = high >> 32;
  uint64_t rest_bits = fraction;
  if (shift > 0) {
    whole = whole << shift | fraction >> (64 - shift);
    rest_bits = fraction << shift;
  } else if (shift < 0) {
    rest_bits = fraction >> -shift | whole << (64 + shift);
    whole = whole >> -shift;
  }
  const auto rest = static_cast<int64_t>(rest_bits);
  if (rest < 0) ++whole;
  const double angle = static_cast<double>(rest) * 0x1.921fb54442d18p-64;  // pi / 2 2^-64
  const bool negative = (bits(x) >> 31) != 0;
  *r = static_cast<float>(negative ? -angle : angle);
  *quadrant = static_cast<uint32_t>(negative ? uint64_t{0} - whole : whole);
}
HALFTONE_INLINE void replace_far_angles(float x, float& r, uint32_t& quadrant) {
  if (abs(x) > kFarAngle && abs(x) < kInfinity) far_angle(x, &r, &quadrant);
}
#if HALFTONE_KERN_VECTOR
[[gnu::noinline]] static void replace_lanes(const float* x, float* r, uint32_t* quadrant) {
  for (int l = 0; l < 16; ++l) replace_far_angles(x[l], r[l], quadrant[l]);
}
HALFTONE_INLINE void replace_far_angles(F32 x, F32& r, U32& quadrant) {
  const F32 a = abs(x);
  if (lane_bits((a > F32(kFarAngle)) & (a < F32(kInfinity))) == 0) return;
  alignas(64) float xs[16];
  alignas(64) float rs[16];
  alignas(64) uint32_t quadrants[16];
  store16(xs, x);
  store16(rs, r);
  store16(quadrants, quadrant);
  replace_lanes(xs, rs, quadrants);
  r = load16(rs);
  quadrant = load16(quadrants);
}
HALFTONE_INLINE F32 fmod(F32 x, F32 y) {
  alignas(64) float xs[16];
  alignas(64) float ys[16];
  store16(xs, x);
  store16(ys, y);
  for (int l = 0; l < 16; ++l) xs[l] = fmod(xs[l], ys[l]);
  return load16(xs);
}
#endif

template <class V>
struct Angle {
  V r;
  decltype(bits(V())) quadrant;
};
// x as whole quarter turns and |r| <= pi / 4 (a rounding more). r is exact but for one rounding a step,
// relative to r.
template <class V>
HALFTONE_INLINE Angle<V> angle(V x) {
  const V near = select(abs(x) <= V(kFarAngle), x, V(0.0F));
  const V shifted = fma(near, V(kTwoOverPi), V(kRound));
  const V n = shifted - V(kRound);
  V r = fma(n, V(-kHalfPiHigh), near);  // exact
  r = fma(n, V(-kHalfPiMiddle), r);
  r = fma(n, V(-kHalfPiLow), r);
  Angle<V> out{select(n == V(0.0F), near, r), bits(shifted)};  // -0 stays
  replace_far_angles(x, out.r, out.quadrant);
  return out;
}
template <class V>
HALFTONE_INLINE V sin_near(V r) {
  const V z = r * r;
  // (sin(r) - r) / r^3 in r^2 for |r| <= 0.786, relative to sin: 2^-37.5.
  V p = V(0x1.6ccf4ep-19F);
  p = fma(p, z, V(-0x1.a00f74p-13F));
  p = fma(p, z, V(0x1.111108p-7F));
  p = fma(p, z, V(-0x1.555556p-3F));
  return copysign(fma(r * z, p, r), r);  // of -0 too
}
template <class V>
HALFTONE_INLINE V cos_near(V r) {
  const V z = r * r;
  // (cos(r) - 1 + r^2 / 2) / r^4 in r^2, relative to cos: 2^-33.0.
  V p = V(0x1.99e866p-16F);
  p = fma(p, z, V(-0x1.6c0c28p-10F));
  p = fma(p, z, V(0x1.55554ap-5F));
  p = fma(p, z, V(-0.5F));
  return fma(p, z, V(1.0F));
}
template <class V>
HALFTONE_INLINE V sin_of(Angle<V> a) {
  using U = decltype(bits(V()));
  const V y = select(to_float(a.quadrant & U(1U)) > V(0.5F), cos_near(a.r), sin_near(a.r));
  return from_bits(bits(y) ^ ((a.quadrant & U(2U)) << 30));
}
// Infinities and NaN have no angle.
template <class V>
HALFTONE_INLINE V if_finite(V x, V y) {
  return select(x == x, select(abs(x) < V(kInfinity), y, V(kQuietNan)), x);
}
template <class V>
HALFTONE_INLINE V sin(V x) {
  return if_finite(x, sin_of(angle(x)));
}
template <class V>
HALFTONE_INLINE V cos(V x) {
  using U = decltype(bits(V()));
  Angle<V> a = angle(x);
  a.quadrant = a.quadrant + U(1U);
  return if_finite(x, sin_of(a));
}
template <class V>
HALFTONE_INLINE V tan(V x) {
  using U = decltype(bits(V()));
  const Angle<V> a = angle(x);
  const V s = sin_near(a.r);
  const V c = cos_near(a.r);
  const auto odd = to_float(a.quadrant & U(1U)) > V(0.5F);
  return if_finite(x, select(odd, V(-0.0F) - c, s) / select(odd, s, c));
}

// asin(t) for 0 <= t <= 1/2, z = t^2.
template <class V>
HALFTONE_INLINE V asin_near(V t, V z) {
  // (asin(t) - t) / t^3 in t^2, relative to asin: 2^-31.7.
  V p = V(0x1.336908p-5F);
  p = fma(p, z, V(0x1.d8eb92p-7F));
  p = fma(p, z, V(0x1.0494eap-5F));
  p = fma(p, z, V(0x1.6cae70p-5F));
  p = fma(p, z, V(0x1.333880p-4F));
  p = fma(p, z, V(0x1.55554cp-3F));
  return fma(t * z, p, t);
}
// asin(a) = pi / 2 - 2 asin(sqrt((1 - a) / 2)) above 1/2.
template <class V>
struct Arc {
  decltype(V() < V()) large;
  V value;  // asin(a), or asin(sqrt((1 - a) / 2))
};
template <class V>
HALFTONE_INLINE Arc<V> arc(V a) {
  const auto large = a > V(0.5F);
  const V z = select(large, fma(V(-0.5F), a, V(0.5F)), a * a);
  return {large, asin_near(select(large, sqrt(z), a), z)};
}
template <class V>
HALFTONE_INLINE V asin(V x) {
  const V a = abs(x);
  const Arc<V> s = arc(a);
  const V y = select(s.large, (V(kHalfPiHigh) - (s.value + s.value)) + V(kHalfPiMiddle), s.value);
  return select(a <= V(1.0F), copysign(y, x), select(x == x, V(kQuietNan), x));
}
template <class V>
HALFTONE_INLINE V acos(V x) {
  const V a = abs(x);
  const Arc<V> s = arc(a);
  const V twice = s.value + s.value;
  const V behind = (V(2 * kHalfPiHigh) - twice) + V(2 * kHalfPiMiddle);
  const V near = V(kHalfPiHigh) - (copysign(s.value, x) - V(kHalfPiMiddle));
  const V y = select(s.large, select(x < V(0.0F), behind, twice), near);
  return select(a <= V(1.0F), y, select(x == x, V(kQuietNan), x));
}
template <class V>
HALFTONE_INLINE V atan(V x) {
  // atan(a) = pi / 4 + atan((a - 1) / (a + 1)) = pi / 2 - atan(1 / a)
  const V a = abs(x);
  const V one = V(1.0F);
  const auto large = a > V(0x1.3504f4p+1F);   // 1 + sqrt 2
  const auto middle = a > V(0x1.a8279ap-2F);  // sqrt 2 - 1
  const V t =
      select(large, V(-1.0F), select(middle, a - one, a)) / select(large, a, select(middle, a + one, one));
  const V z = t * t;
  // (atan(t) - t) / t^3 in t^2 for |t| <= 0.4143, relative to atan: 2^-30.5.
  V p = V(-0x1.f1e37ep-5F);
  p = fma(p, z, V(0x1.b1ea4ap-4F));
  p = fma(p, z, V(-0x1.23b504p-3F));
  p = fma(p, z, V(0x1.999194p-3F));
  p = fma(p, z, V(-0x1.55554ap-2F));
  const V near = fma(t * z, p, t);
  const V base = select(large, V(kHalfPiHigh), select(middle, V(0.5F * kHalfPiHigh), V(0.0F)));
  const V low = select(large, V(kHalfPiMiddle), select(middle, V(0.5F * kHalfPiMiddle), V(0.0F)));
  return select(x == x, copysign(base + (near + low), x), x);
}

// ---------------------------------------------------------------- hyperbolic functions
// exp(a) / 2, a >= 0, finite wherever sinh and cosh are.
template <class V>
HALFTONE_INLINE V half_exp(V a) {
  const V root = exp(V(0.5F) * a);
  return (V(0.5F) * root) * root;
}
template <class V>
HALFTONE_INLINE V sinh(V x) {
  const V a = abs(x);
  const V z = a * a;
  // (sinh(a) - a) / a^3 in a^2 for a <= 1, relative to sinh: 2^-34.2.
  V p = V(0x1.7a15eep-19F);
  p = fma(p, z, V(0x1.9ffe90p-13F));
  p = fma(p, z, V(0x1.111134p-7F));
  p = fma(p, z, V(0x1.555556p-3F));
  const V half = half_exp(a);
  const V y = select(a < V(1.0F), fma(a * z, p, a), half - V(0.25F) / half);
  return select(x == x, copysign(y, x), x);
}
template <class V>
HALFTONE_INLINE V cosh(V x) {
  const V half = half_exp(abs(x));
  return half + V(0.25F) / half;
}
inline constexpr float kLn2 = 0x1.62e43p-1F;
// log(t + sqrt(t^2 + 1)) and log(t + sqrt(t^2 - 1)): from here on both are log(2 t) in fp32.
inline constexpr float kFarArea = 0x1p14F;
// log(1 + u) where u <= 1, else log(x), and log(2 a) from kFarArea on.
template <class V>
HALFTONE_INLINE V area(V a, V u, V x) {
  const auto small = u <= V(1.0F);
  const auto far = a >= V(kFarArea);
  const V large = log(select(far, a, x)) + select(far, V(kLn2), V(0.0F));
  return select(small, log1p01(select(small, u, V(0.0F))), large);
}
template <class V>
HALFTONE_INLINE V asinh(V x) {
  const V a = abs(x);
  const V root = sqrt(fma(a, a, V(1.0F)));
  const V u = a + (a * a) / (V(1.0F) + root);
  return select(x == x, copysign(area(a, select(a < V(kFarArea), u, a), a + root), x), x);
}
template <class V>
HALFTONE_INLINE V acosh(V x) {
  const V t = x - V(1.0F);
  const V root = sqrt(t * (x + V(1.0F)));
  const V y = area(x, select(x < V(kFarArea), t + root, x), x + root);
  return select(x >= V(1.0F), y, select(x == x, V(kQuietNan), x));
}
template <class V>
HALFTONE_INLINE V atanh(V x) {
  // log((1 + a) / (1 - a)) / 2 = log(1 + 2 a / (1 - a)) / 2
  const V a = abs(x);
  const V rest = V(1.0F) - a;
  const V y = V(0.5F) * area(V(0.0F), (a + a) / rest, (V(1.0F) + a) / rest);
  return select(a <= V(1.0F), copysign(y, x), select(x == x, V(kQuietNan), x));
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
