// fp16 and bf16 as storage: bits that are widened, computed on, and narrowed. No operators on purpose
// (docs/numerics.md). Everything here is forced inline and uses compiler builtins instead of std templates:
// the kernels of each instruction set include this header, and an out-of-line copy compiled with AVX-512
// could be picked by the linker for the whole program.
#pragma once

#include <cstdint>

#define HALFTONE_INLINE [[gnu::always_inline]] inline

namespace halftone::num {

struct Fp16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

inline constexpr float kFp16Max = 65504.0F;

// Exact. fp16 subnormals become normal floats.
HALFTONE_INLINE float widen(Fp16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000U) << 16;
  const uint32_t rest = h.bits & 0x7FFFU;
  if (rest >= 0x7C00U)
    return __builtin_bit_cast(
        float, sign | 0x7F800000U | ((rest & 0x3FFU) << 13) | ((rest & 0x3FFU) != 0 ? 0x400000U : 0U));
  if (rest >= 0x400U) return __builtin_bit_cast(float, sign | ((rest + (112U << 10)) << 13));
  // Subnormal: rest * 2^-24, exact, and its bits carry the sign of zero.
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, static_cast<float>(rest) * 0x1p-24F) | sign);
}
HALFTONE_INLINE float widen(Bf16 b) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(b.bits) << 16);
}
HALFTONE_INLINE float widen(float x) {
  return x;
}
HALFTONE_INLINE double widen(double x) {
  return x;
}

// Nearest, ties to even; beyond 65504 + 16 infinity; NaN stays a quiet NaN (payload truncated), as vcvtps2ph
// does.
HALFTONE_INLINE Fp16 to_fp16(float x) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = (u >> 16) & 0x8000U;
  const uint32_t magnitude = u & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return {static_cast<uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU))};
  if (magnitude >= 0x477FF000U) return {static_cast<uint16_t>(sign | 0x7C00U)};  // 65520 and more
  if (magnitude < 0x38800000U) {  // below 2^-14: subnormal or zero
    if (magnitude < 0x33000000U)
      return {static_cast<uint16_t>(sign)};  // below 2^-25, which itself ties to zero
    const uint32_t exponent = magnitude >> 23;
    const uint32_t significand = (magnitude & 0x7FFFFFU) | 0x800000U;
    const uint32_t shift = 126U - exponent;  // 14 .. 24
    const uint32_t kept = significand >> shift;
    const uint32_t lost = significand & ((1U << shift) - 1U);
    const uint32_t half = 1U << (shift - 1U);
    return {static_cast<uint16_t>(sign |
                                  (kept + ((lost > half || (lost == half && (kept & 1U) != 0)) ? 1U : 0U)))};
  }
  const uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
  return {static_cast<uint16_t>(sign | ((rounded >> 13) - (112U << 10)))};
}
// Nearest, ties to even; overflows to infinity; NaN stays a quiet NaN (payload truncated).
HALFTONE_INLINE Bf16 to_bf16(float x) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  if ((u & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<uint16_t>((u >> 16) | 0x40U)};
  return {static_cast<uint16_t>((u + 0x7FFFU + ((u >> 16) & 1U)) >> 16)};
}

// Stochastic: up with the probability of the lost part, so right on average; a representable value never
// moves. `random` holds 16 uniform bits. fp16 uses the upper 13 of them, as many as a float has below fp16's
// last place. Beyond 65504 infinity, as nearest (after rounding); NaN and infinity as nearest.
HALFTONE_INLINE Fp16 to_fp16_stochastic(float x, uint16_t random) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = (u >> 16) & 0x8000U;
  const uint32_t magnitude = u & 0x7FFFFFFFU;
  if (magnitude >= 0x7F800000U) return to_fp16(x);
  const uint32_t r13 = random >> 3;
  if (magnitude < 0x38800000U) {
    // |x| * 2^24 is below 1024, exact; adding 13 random bits below the point and cutting is exact for whole
    // numbers.
    const float scaled = __builtin_bit_cast(float, magnitude) * 0x1p24F + static_cast<float>(r13) * 0x1p-13F;
    return {static_cast<uint16_t>(sign | static_cast<uint32_t>(scaled))};
  }
  const uint32_t cut = (magnitude + r13) >> 13;
  if (cut > (0x477FE000U >> 13)) return {static_cast<uint16_t>(sign | 0x7C00U)};
  return {static_cast<uint16_t>(sign | (cut - (112U << 10)))};
}
HALFTONE_INLINE Bf16 to_bf16_stochastic(float x, uint16_t random) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  if ((u & 0x7F800000U) == 0x7F800000U) return to_bf16(x);
  return {static_cast<uint16_t>((u + random) >> 16)};
}

// narrow<T>: nearest, into the storage type T.
template <class T>
T narrow(double x);
template <>
HALFTONE_INLINE double narrow<double>(double x) {
  return x;
}
template <>
HALFTONE_INLINE float narrow<float>(double x) {
  return static_cast<float>(x);
}
template <>
HALFTONE_INLINE Fp16 narrow<Fp16>(double x) {
  return to_fp16(static_cast<float>(x));
}
template <>
HALFTONE_INLINE Bf16 narrow<Bf16>(double x) {
  return to_bf16(static_cast<float>(x));
}

}  // namespace halftone::num
