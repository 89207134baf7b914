// How the reference multiplies and adds for each policy (matrix.h): scales, chunks and sums. Lanes are
// outputs, 16 at a time, so that a compiler vectorises over them: that changes no bit, since each output is
// its own chain.
#pragma once

#include "kern/matrix.h"
#include "kern/ref/storage.h"
#include "kern/scratch.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

constexpr int64_t kChunkTerms = 128;

// The fp16 nearest to x, ties to even.
double to_half(double x) {
  const uint64_t magnitude = __builtin_bit_cast(uint64_t, x) & 0x7FFFFFFFFFFFFFFFU;
  constexpr uint64_t kLeast = uint64_t{1023 - 14} << 52;  // below 2^-14 the last place stays 2^-24
  const uint64_t exponent = magnitude & 0x7FF0000000000000U;
  // 1.5 * 2^(e + 42): doubles of its size are as far apart as fp16 of x's size, 2^(e - 10), so adding it
  // rounds.
  const double magic = __builtin_bit_cast(
      double, ((exponent < kLeast ? kLeast : exponent) + (uint64_t{42} << 52)) | 0x8000000000000U);
  const double rounded = (x + magic) - magic;
  const double beyond = x * __builtin_inf();  // and a NaN stays one
  return __builtin_bit_cast(double, magnitude) < 65520.0 ? rounded : beyond;
}
// a * b + c in fp16 with one rounding, for fp16 values. In double the product is exact (22 bits). So is the
// sum, unless its bits span more than 53 places; c's last place being 2^-24 or more, and the sum below 2^17
// (else it is infinite either way), only bits of the product below 2^-36 can be lost, and only if the product
// is below 2^-30 times c. Then the exact sum and the double nearest to it both lie next to c, nowhere near
// the middle between two fp16 values, and round to the same one. Hence no double rounding ever shows.
double fma_half(double a, double b, double c) {
  return to_half(a * b + c);
}

// ---------------------------------------------------------------- operands
// T: storage type. R: Register<T>. V: an operand as it multiplies: R (wide), int16_t (block), or double with
// R float (half: values of fp16).

// A block's scale, found from the largest magnitude's bits (which order as the magnitudes do, NaN last).
struct BlockScale {
  uint32_t largest = 0;
  float scale = 0;    // what an integer is worth
  float inverse = 0;  // what a value is multiplied by

  template <class T>
  void see(T x) {
    const uint32_t magnitude = bits(num::widen(x)) & 0x7FFFFFFFU;
    largest = magnitude > largest ? magnitude : largest;
  }
  void settle() {
    if (largest >= bits(0x1p75F)) {
      scale = from_bits(0x7FC00000U);
      inverse = 0;
      return;
    }
    const int found = static_cast<int>(largest >> 23) - 126;
    const int e = found < -51 ? -51 : found;
    scale = from_bits(static_cast<uint32_t>(e - 12 + 127) << 23);
    inverse = from_bits(static_cast<uint32_t>(12 - e + 127) << 23);
  }
  template <class T>
  int16_t quantised(T x) const {
    return inverse == 0 ? int16_t{0} : static_cast<int16_t>(__builtin_rintf(num::widen(x) * inverse));
  }
};
// The same interface for `wide`: every value as it is.
template <class V>
struct NoScale {
  float scale = 1;
  template <class T>
  void see(T) {}
  void settle() {}
  template <class T>
  V quantised(T x) const {
    return num::widen(x);
  }
};
template <class V>
struct ScaleOf {
  using type = NoScale<V>;
};
template <>
struct ScaleOf<int16_t> {
  using type = BlockScale;
};

// block and half sum a chunk's terms apart from acc. Sum: of what type; kSums: how many for each output.
template <class V, class R>
struct Chunk {
  using Sum = R;
  static constexpr int64_t kSums = 0;
};
template <>
struct Chunk<int16_t, float> {
  using Sum = int32_t;
  static constexpr int64_t kSums = 1;
};
template <>
struct Chunk<double, float> {
  using Sum = double;
  static constexpr int64_t kSums = 2;
};

// ---------------------------------------------------------------- a row of outputs and its sums
// n outputs, a multiple of kLanes; b is [count][n].
template <class V, class R>
struct Row {
  V* acc;
  V* sums;
  const float* scale_b;
  float scale_a;
  int64_t n;
  int64_t filled;

  void begin() {
    for (int64_t o = 0; o < n; ++o) acc[o] = 0;
  }
  void add(const V* a, int64_t count, const V* b) {
    for (int64_t first = 0; first < n; first += kLanes) {
      V lane[kLanes];
      for (int64_t l = 0; l < kLanes; ++l) lane[l] = acc[first + l];
      for (int64_t k = 0; k < count; ++k)
        for (int64_t l = 0; l < kLanes; ++l) lane[l] = fma(a[k], b[k * n + first + l], lane[l]);
      for (int64_t l = 0; l < kLanes; ++l) acc[first + l] = lane[l];
    }
  }
  void flush() {}
};
template <>
struct Row<int16_t, float> {
  float* acc;
  int32_t* sums;
  const float* scale_b;  // one for each output
  float scale_a;
  int64_t n;
  int64_t filled;  // terms in sums

  void begin() {
    for (int64_t o = 0; o < n; ++o) acc[o] = 0;
    for (int64_t o = 0; o < n; ++o) sums[o] = 0;
    filled = 0;
  }
  void add(const int16_t* a, int64_t count, const int16_t* b) {
    while (count > 0) {
      const int64_t part = least(count, kChunkTerms - filled);
      for (int64_t first = 0; first < n; first += kLanes) {
        int32_t lane[kLanes];
        for (int64_t l = 0; l < kLanes; ++l) lane[l] = sums[first + l];
        for (int64_t k = 0; k < part; ++k)
          for (int64_t l = 0; l < kLanes; ++l) lane[l] += a[k] * b[k * n + first + l];
        for (int64_t l = 0; l < kLanes; ++l) sums[first + l] = lane[l];
      }
      a += part;
      b += part * n;
      count -= part;
      filled += part;
      if (filled == kChunkTerms) flush();
    }
  }
  void flush() {
    if (filled == 0) return;
    for (int64_t o = 0; o < n; ++o) acc[o] = fma(static_cast<float>(sums[o]), scale_a * scale_b[o], acc[o]);
    for (int64_t o = 0; o < n; ++o) sums[o] = 0;
    filled = 0;
  }
};
template <>
struct Row<double, float> {
  float* acc;
  double* sums;  // of the pairs' first members, then of their second ones
  const float* scale_b;
  float scale_a;
  int64_t n;
  int64_t filled;  // terms in sums

  void begin() {
    for (int64_t o = 0; o < n; ++o) acc[o] = 0;
    for (int64_t o = 0; o < 2 * n; ++o) sums[o] = 0;
    filled = 0;
  }
  void add(const double* a, int64_t count, const double* b) {
    for (int64_t k = 0; k < count; ++k, b += n) {
      double* const sum = sums + filled % 2 * n;
      for (int64_t o = 0; o < n; ++o) sum[o] = fma_half(a[k], b[o], sum[o]);
      if (++filled == kChunkTerms) flush();
    }
  }
  void flush() {
    if (filled == 0) return;
    for (int64_t o = 0; o < n; ++o)
      acc[o] = acc[o] + (static_cast<float>(sums[o]) + static_cast<float>(sums[n + o]));
    for (int64_t o = 0; o < 2 * n; ++o) sums[o] = 0;
    filled = 0;
  }
};

template <class T, class R>
T finished(R acc, R alpha, bool has_bias, const void* bias, int64_t i) {
  R y = acc * alpha;
  if (has_bias) y = y + num::widen(static_cast<const T*>(bias)[i]);
  return num::narrow<T>(y);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS
