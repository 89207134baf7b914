// From stored elements to units: finding a block's scale, quantising (block) or widening (wide), and the
// three orders in which operands are packed.
//   along      units follow K as memory does: a pixel's channels, a row of a matrix
//   across     lanes follow memory, K runs across rows: two rows become one row of pairs
//   transposed 16 rows that each follow K become lanes
// T is the storage type; kBlock says which units are made.
#pragma once

#include "kern/simd/matrix_tile.h"
#include "kern/simd/matrix_work.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// What an integer is worth, and what a value is multiplied by to become one.
struct BlockScale {
  float scale = 1;
  float inverse = 1;
};
constexpr int kLeastExponent = -51;
constexpr uint32_t kTooLarge = 0x65000000U;  // the bits of 2^75

// largest: the bits of the block's largest magnitude as a float.
inline BlockScale scale_of(uint32_t largest) {
  if constexpr (kHalf) return {};
  if (largest >= kTooLarge) return {__builtin_nanf(""), 0};
  const int found = static_cast<int>(largest >> 23) - 126;
  const int e = found < kLeastExponent ? kLeastExponent : found;
  return {__builtin_bit_cast(float, static_cast<uint32_t>(e - 12 + 127) << 23),
          __builtin_bit_cast(float, static_cast<uint32_t>(12 - e + 127) << 23)};
}
// The same for each of 16 lanes.
inline void scales_of(I largest, float* scale, float* inverse) {
  alignas(64) int32_t bits[16];
  store(bits, largest);
  for (int l = 0; l < 16; ++l) {
    const BlockScale s = scale_of(static_cast<uint32_t>(bits[l]));
    scale[l] = s.scale;
    inverse[l] = s.inverse;
  }
}

inline uint32_t magnitude_bits(num::Fp16 x) {
  return __builtin_bit_cast(uint32_t, num::widen(num::Fp16{static_cast<uint16_t>(x.bits & 0x7FFFU)}));
}
inline uint32_t magnitude_bits(num::Bf16 x) {
  return static_cast<uint32_t>(x.bits & 0x7FFFU) << 16;
}

// The bits of the largest magnitude among `count` runs of n elements, `stride` apart. kStream: as
// largest_halves.
template <bool kStream = false, class T>
uint32_t largest_of(const T* p, int64_t n, int64_t count, int64_t stride) {
  if constexpr (kHalf) return 0;
  if (n == stride) {
    n *= count;
    count = 1;
  }
  uint32_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t here = largest_halves<kStream>(reinterpret_cast<const uint16_t*>(p + i * stride), n);
    found = here > found ? here : found;
  }
  return magnitude_bits(T{static_cast<uint16_t>(found)});
}
template <bool kStream = false>
uint32_t largest_of(const float*, int64_t, int64_t, int64_t) {
  return 0;
}  // fp32 is never block

inline void zero_units(Unit* p, int64_t n) {
  __builtin_memset(p, 0, static_cast<size_t>(n) * sizeof(Unit));
}

// ---------------------------------------------------------------- along
template <bool kStream, class T>
HALFTONE_INLINE void quantise_run(const T* p, int16_t* y, int64_t n, F inverse) {
  if constexpr (kHalf) {
    return copy_halves(p, y, n);
  }
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if constexpr (kStream) prefetch(p + i);
    store_low(y + i, quantise_low(widen(p + i), inverse));
  }
  if (i < n) store_low(y + i, quantise_low(widen(p + i, n - i), inverse), n - i);
}
template <bool kStream, class T>
HALFTONE_INLINE void widen_run(const T* p, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if constexpr (kStream) prefetch(p + i);
    store(y + i, widen(p + i));
  }
  if (i < n) narrow(y + i, widen(p + i, n - i), n - i);
}
// `count` runs (pixels, rows) of n elements, p_stride apart, into runs of units, y_stride apart; an odd last
// element is paired with 0. kStream: as largest_halves.
template <class T, bool kBlock, bool kStream>
void pack_along(const T* p, int64_t p_stride, Unit* y, int64_t y_stride, int64_t n, int64_t count,
                float inverse) {
  const int64_t units = kBlock ? (n + 1) / 2 : n;
  if (p_stride == n && y_stride == units && (!kBlock || n % 2 == 0)) {
    n *= count;
    count = 1;
  }
  for (int64_t i = 0; i < count; ++i, p += p_stride, y += y_stride) {
    if constexpr (kBlock) {
      int16_t* const halves = reinterpret_cast<int16_t*>(y);
      if (n % 2 != 0) halves[n] = 0;
      quantise_run<kStream>(p, halves, n, splat(inverse));
    } else {
      widen_run<kStream>(p, reinterpret_cast<float*>(y), n);
    }
  }
}

// ---------------------------------------------------------------- across
// One row of n lanes from row p, and for block row q too; nullptr: zeros. kFill: filled up with zeros to a
// multiple of 16 lanes, else nothing beyond n is written. inverse: one for each lane, or 16 that serve all
// when kOneScale.
template <class T, bool kBlock, bool kOneScale, bool kFill>
void pack_across(const T* p, const T* q, Unit* y, int64_t n, const float* inverse) {
  const auto row = [](const T* x, int64_t i, int64_t left) {
    return x == nullptr ? zero_f() : left >= 16 ? widen(x + i) : widen(x + i, left);
  };
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t left = n - i;
    if constexpr (kBlock && kHalf) {
      const I units = pair(load_low(p, i, left), load_low(q, i, left));
      if (kFill || left >= 16)
        store(y + i, units);
      else
        store(y + i, units, left);
      continue;
    }
    const F low = row(p, i, left);
    if constexpr (kBlock) {
      const F s = load(inverse + (kOneScale ? 0 : i));
      const I units = pair(quantise_low(low, s), quantise_low(row(q, i, left), s));
      if (kFill || left >= 16)
        store(y + i, units);
      else
        store(y + i, units, left);
    } else {
      if (kFill || left >= 16)
        store(reinterpret_cast<float*>(y + i), low);
      else
        narrow(reinterpret_cast<float*>(y + i), low, left);
    }
  }
}

// ---------------------------------------------------------------- transposed
// Up to 16 rows of n elements, p_stride apart, each with its own scale: unit u of row l becomes lane l of y +
// u * y_step. Missing rows give zeros.
template <class T, bool kBlock>
void pack_transposed(const T* p, int64_t p_stride, int64_t rows, Unit* y, int64_t y_step, int64_t n,
                     const float* inverse) {
  const int64_t units = kBlock ? (n + 1) / 2 : n;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t u = 0; u < units; u += 16) {
    const int64_t part = least(16, units - u);
    for (int64_t l = 0; l < rows; ++l) {
      const T* const row = p + l * p_stride;
      if constexpr (kBlock) {
        int16_t* const halves = reinterpret_cast<int16_t*>(in + 16 * l);
        const int64_t left = n - 2 * u;
        if (left % 2 != 0 && left < 32) halves[left] = 0;
        quantise_run<false>(row + 2 * u, halves, least(32, left), splat(inverse[l]));
      } else {
        widen_run<false>(row + u, reinterpret_cast<float*>(in + 16 * l), part);
      }
    }
    if (part == 16) {
      transpose(in, y + u * y_step, y_step);
    } else {
      transpose(in, out, 16);
      for (int64_t i = 0; i < part; ++i) store(y + (u + i) * y_step, load(out + 16 * i));
    }
  }
}

// ---------------------------------------------------------------- the end of a sum
// The first n of a bias as finish_row takes them: in `lanes`, filled up to a multiple of 16; null when there
// is none.
template <class T>
HALFTONE_INLINE const float* bias_lanes(const T* bias, int64_t n, float* lanes) {
  if (bias == nullptr) return nullptr;
  for (int64_t l = 0; l < n; l += 16)
    store(lanes + l, l + 16 <= n ? widen(bias + l) : widen(bias + l, n - l));
  return lanes;
}

// y = narrow(c * alpha + bias), alpha only when kScaled, for the first n of the lanes; bias may be null.
template <bool kScaled, class T>
HALFTONE_INLINE void finish_row(const float* c, T* y, int64_t n, const float* bias, F alpha) {
  for (int64_t i = 0; i < n; i += 16) {
    F x = load(c + i);
    if constexpr (kScaled) x = mul(x, alpha);
    if (bias != nullptr) x = add(x, load(bias + i));
    if (i + 16 <= n)
      narrow(y + i, x);
    else
      narrow(y + i, x, n - i);
  }
}

// The first n of the lanes from y (the others get 0), or to y.
template <bool kFromY>
HALFTONE_INLINE void move_sums_row(float* c, int64_t lanes, float* y, int64_t n) {
  for (int64_t i = 0; i < lanes; i += 16) {
    const int64_t left = n - i;
    if constexpr (kFromY)
      store(c + i, left >= 16 ? load(y + i) : left > 0 ? widen(y + i, left) : zero_f());
    else if (left >= 16)
      store(y + i, load(c + i));
    else if (left > 0)
      narrow(y + i, load(c + i), left);
  }
}

// finish_row for `rows` rows of V whole vectors, without alpha.
template <class T, int V>
void finish_rows_of(const float* c, int64_t rows, T* y, int64_t y_step, const float* bias) {
  for (; rows > 0; --rows, c += 16 * V, y += y_step) {
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) {
      F x = load(c + 16 * v);
      if (bias != nullptr) x = add(x, load(bias + 16 * v));
      narrow(y + 16 * v, x);
    }
  }
}
// Rows of c that are `width` vectors apart; `lanes` of each exist.
template <class T>
HALFTONE_INLINE void finish_rows(const float* c, int64_t width, int64_t rows, T* y, int64_t y_step,
                                 int64_t lanes, const float* bias) {
  if constexpr (kMaxVectors > 1) {
    if (lanes == 64) return finish_rows_of<T, 4>(c, rows, y, y_step, bias);
    if (lanes == 48) return finish_rows_of<T, 3>(c, rows, y, y_step, bias);
    if (lanes == 32) return finish_rows_of<T, 2>(c, rows, y, y_step, bias);
  }
  if (lanes == 16) return finish_rows_of<T, 1>(c, rows, y, y_step, bias);
  for (; rows > 0; --rows, c += 16 * width, y += y_step) finish_row<false>(c, y, lanes, bias, zero_f());
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
