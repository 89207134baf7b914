// The meaning of products (matrix.h), in plain loops. Lanes are outputs, 16 at a time, so that a compiler
// vectorises over them: that changes no bit, since each output is its own chain.
#include "kern/matrix.h"

#include "kern/tables.h"
#include "num/half.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kChunkTerms = 128;

int64_t round_up(int64_t x, int64_t to) {
  return (x + to - 1) / to * to;
}
int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

float from_bits(uint32_t u) {
  return __builtin_bit_cast(float, u);
}
uint32_t to_bits(float x) {
  return __builtin_bit_cast(uint32_t, x);
}
float fused(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
double fused(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}

// The fp16 nearest to x, ties to even.
double to_half(double x) {
  const uint64_t magnitude = __builtin_bit_cast(uint64_t, x) & 0x7FFFFFFFFFFFFFFFU;
  constexpr uint64_t kLeast = uint64_t{1023 - 14} << 52;  // below 2^-14 the last place stays 2^-24
  const uint64_t exponent = magnitude & 0x7FF0000000000000U;
  // 1.5 * 2^(e + 42): doubles of its size are as far apart as fp16 of x's size, 2^(e - 10), so adding it rounds.
  const double magic = __builtin_bit_cast(
      double, ((exponent < kLeast ? kLeast : exponent) + (uint64_t{42} << 52)) | 0x8000000000000U);
  const double rounded = (x + magic) - magic;
  const double beyond = x * __builtin_inf();  // and a NaN stays one
  return __builtin_bit_cast(double, magnitude) < 65520.0 ? rounded : beyond;
}
// a * b + c in fp16 with one rounding, for fp16 values. In double the product is exact (22 bits). So is the sum,
// unless its bits span more than 53 places; c's last place being 2^-24 or more, and the sum below 2^17 (else it is
// infinite either way), only bits of the product below 2^-36 can be lost, and only if the product is below 2^-30
// times c. Then the exact sum and the double nearest to it both lie next to c, nowhere near the middle between two
// fp16 values, and round to the same one. Hence no double rounding ever shows.
double fused_half(double a, double b, double c) {
  return to_half(a * b + c);
}

// ---------------------------------------------------------------- operands
// T: storage type. R: register type. V: an operand as it multiplies: R (wide), int16_t (block), or double with R
// float (half: values of fp16).
template <class T>
struct Types {
  using R = float;
};
template <>
struct Types<double> {
  using R = double;
};

// A block's scale, found from the largest magnitude's bits (which order as the magnitudes do, NaN last).
struct BlockScale {
  uint32_t largest = 0;
  float scale = 0;    // what an integer is worth
  float inverse = 0;  // what a value is multiplied by

  template <class T>
  void see(T x) {
    const uint32_t magnitude = to_bits(num::widen(x)) & 0x7FFFFFFFU;
    largest = magnitude > largest ? magnitude : largest;
  }
  void settle() {
    if (largest >= to_bits(0x1p75F)) {
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
        for (int64_t l = 0; l < kLanes; ++l) lane[l] = fused(a[k], b[k * n + first + l], lane[l]);
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
    for (int64_t o = 0; o < n; ++o) acc[o] = fused(static_cast<float>(sums[o]), scale_a * scale_b[o], acc[o]);
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
      for (int64_t o = 0; o < n; ++o) sum[o] = fused_half(a[k], b[o], sum[o]);
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

// ---------------------------------------------------------------- scratch
// Cuts 64-byte aligned pieces off the scratch; with a null base it measures.
struct Carver {
  std::byte* base;
  int64_t used = 0;
  template <class X>
  X* take(int64_t n) {
    X* p = reinterpret_cast<X*>(base + used);
    used += round_up(n * static_cast<int64_t>(sizeof(X)), 64);
    return p;
  }
};

// ---------------------------------------------------------------- Conv and its input gradient
// Both are: for each image and group, a row of `out` lanes for each target pixel from `in` channels of source
// pixels.
struct Sides {
  int64_t in, out;                // channels of a group
  int64_t in_padded, out_padded;  // even for block and half; a multiple of kLanes
  int64_t source_h, source_w, target_h, target_w;
};
Sides sides_of(const Product& p) {
  const ConvGeometry& g = p.conv;
  Sides s{};
  if (p.kind == ProductKind::kConv)
    s = {g.c / g.group, g.o / g.group, 0, 0, g.h, g.w, g.oh, g.ow};
  else
    s = {g.o / g.group, g.c / g.group, 0, 0, g.oh, g.ow, g.h, g.w};
  s.in_padded = p.multiply == Multiply::kWide ? s.in : round_up(s.in, 2);
  s.out_padded = round_up(s.out, kLanes);
  return s;
}

template <class V, class R>
struct ConvScratch {
  using Sum = typename Chunk<V, R>::Sum;
  V* weights;     // [group][tap][in_padded][out_padded]
  float* scales;  // [group][out_padded]
  V* pixels;      // this worker's: [source pixel][in_padded] of one group, and one pixel of zeros
  R* acc;         // [out_padded]
  Sum* sums;      // [kSums][out_padded]
  int64_t bytes;

  ConvScratch(const Product& p, const Sides& s, std::byte* base, int worker, int threads) {
    const ConvGeometry& g = p.conv;
    Carver c{base};
    weights = c.take<V>(g.group * g.kh * g.kw * s.in_padded * s.out_padded);
    scales = c.take<float>(g.group * s.out_padded);
    for (int w = 0; w < threads; ++w) {
      V* const pixels_here = c.take<V>((s.source_h * s.source_w + 1) * s.in_padded);
      R* const acc_here = c.take<R>(s.out_padded);
      Sum* const sums_here = c.take<Sum>(Chunk<V, R>::kSums * s.out_padded);
      if (w != worker) continue;
      pixels = pixels_here;
      acc = acc_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

// One output channel's (kConv) or input channel's (kConvGradInput) weights into its lane.
template <class T, class V, class R>
void arrange_weights(const Product& p, const ProductOperands& x, const Sides& s,
                     const ConvScratch<V, R>& scratch, int64_t channel) {
  const ConvGeometry& g = p.conv;
  const int64_t taps = g.kh * g.kw;
  const int64_t group = channel / s.out;
  const int64_t lane = channel % s.out;
  const T* const w = static_cast<const T*>(x.b);
  const auto weight = [&](int64_t tap, int64_t i) {
    return p.kind == ProductKind::kConv ? w[(channel * taps + tap) * s.in + i]
                                        : w[((group * s.in + i) * taps + tap) * s.out + lane];
  };
  typename ScaleOf<V>::type scale;
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t i = 0; i < s.in; ++i) scale.see(weight(tap, i));
  scale.settle();
  // The last channel of a group fills the unused lanes with zeros too.
  const int64_t last = lane == s.out - 1 ? s.out_padded : lane + 1;
  for (int64_t l = lane; l < last; ++l) {
    scratch.scales[group * s.out_padded + l] = scale.scale;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t i = 0; i < s.in_padded; ++i)
        scratch.weights[((group * taps + tap) * s.in_padded + i) * s.out_padded + l] =
            l == lane && i < s.in ? scale.quantised(weight(tap, i)) : V{0};
  }
}

template <class T, class V, class R>
void conv_image(const Product& p, const ProductOperands& x, const Sides& s, const ConvScratch<V, R>& scratch,
                int64_t n) {
  const ConvGeometry& g = p.conv;
  const int64_t source_pixels = s.source_h * s.source_w;
  const int64_t taps = g.kh * g.kw;
  V* const zeros = scratch.pixels + source_pixels * s.in_padded;
  for (int64_t i = 0; i < s.in_padded; ++i) zeros[i] = 0;
  for (int64_t group = 0; group < g.group; ++group) {
    const T* const source = static_cast<const T*>(x.a) + n * source_pixels * s.in * g.group + group * s.in;
    typename ScaleOf<V>::type scale;
    for (int64_t q = 0; q < source_pixels; ++q)
      for (int64_t i = 0; i < s.in; ++i) scale.see(source[q * s.in * g.group + i]);
    scale.settle();
    for (int64_t q = 0; q < source_pixels; ++q)
      for (int64_t i = 0; i < s.in_padded; ++i)
        scratch.pixels[q * s.in_padded + i] =
            i < s.in ? scale.quantised(source[q * s.in * g.group + i]) : V{0};

    Row<V, R> row{scratch.acc, scratch.sums, scratch.scales + group * s.out_padded,
                  scale.scale, s.out_padded, 0};
    const V* const weights = scratch.weights + group * taps * s.in_padded * s.out_padded;
    const auto tap_of = [&](int64_t sh, int64_t sw, int64_t tap) {
      const bool inside = sh >= 0 && sh < s.source_h && sw >= 0 && sw < s.source_w;
      row.add(inside ? scratch.pixels + (sh * s.source_w + sw) * s.in_padded : zeros, s.in_padded,
              weights + tap * s.in_padded * s.out_padded);
    };
    for (int64_t th = 0; th < s.target_h; ++th)
      for (int64_t tw = 0; tw < s.target_w; ++tw) {
        row.begin();
        if (p.kind == ProductKind::kConv) {
          for (int64_t tap = 0; tap < taps; ++tap)
            tap_of(th * g.sh + tap / g.kw * g.dh - g.top, tw * g.sw + tap % g.kw * g.dw - g.left, tap);
        } else {
          for (int64_t tap = taps - 1; tap >= 0; --tap) {
            const int64_t up = th + g.top - tap / g.kw * g.dh;  // = oh * sh
            const int64_t across = tw + g.left - tap % g.kw * g.dw;
            // Truncation takes -1 / 2 to 0, but then the remainder isn't 0.
            if (up % g.sh == 0 && across % g.sw == 0) tap_of(up / g.sh, across / g.sw, tap);
          }
        }
        row.flush();
        T* const y = static_cast<T*>(x.y) + ((n * s.target_h + th) * s.target_w + tw) * s.out * g.group +
                     group * s.out;
        for (int64_t l = 0; l < s.out; ++l)
          y[l] = finished<T>(row.acc[l], R{1}, p.has_bias, x.bias, group * s.out + l);
      }
  }
}

// ---------------------------------------------------------------- the weight gradient
template <class V, class R>
struct GradWeightScratch {
  using Sum = typename Chunk<V, R>::Sum;
  R* chains;  // [image_groups][group][tap][in][out_padded]
  V* x;       // this worker's block: [image][h][w][in], and one pixel of zeros
  V* dy;      // [image][oh][ow][out_padded], and one pixel of zeros
  Sum* sums;  // [kSums][tap][in][out_padded]
  int64_t in, out, out_padded;
  int64_t bytes;

  GradWeightScratch(const Product& p, std::byte* base, int worker, int threads) {
    const ConvGeometry& g = p.conv;
    in = g.c / g.group;
    out = g.o / g.group;
    out_padded = round_up(out, kLanes);
    Carver c{base};
    chains = c.take<R>(p.image_groups * g.group * g.kh * g.kw * in * out_padded);
    for (int w = 0; w < threads; ++w) {
      V* const x_here = c.take<V>((p.block_images * g.h * g.w + 1) * in);
      V* const dy_here = c.take<V>((p.block_images * g.oh * g.ow + 1) * out_padded);
      Sum* const sums_here = c.take<Sum>(Chunk<V, R>::kSums * g.kh * g.kw * in * out_padded);
      if (w != worker) continue;
      x = x_here;
      dy = dy_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

// sums[in][n] += x[in] (outer product) dy[n]
void add_outer(float* sums, const float* x, int64_t in, const float* dy, int64_t n) {
  for (int64_t i = 0; i < in; ++i)
    for (int64_t o = 0; o < n; ++o) sums[i * n + o] = fused(x[i], dy[o], sums[i * n + o]);
}
void add_outer(double* sums, const double* x, int64_t in, const double* dy, int64_t n) {
  for (int64_t i = 0; i < in; ++i)
    for (int64_t o = 0; o < n; ++o) sums[i * n + o] = fused(x[i], dy[o], sums[i * n + o]);
}
void add_outer_half(double* sums, const double* x, int64_t in, const double* dy, int64_t n) {
  for (int64_t i = 0; i < in; ++i)
    for (int64_t o = 0; o < n; ++o) sums[i * n + o] = fused_half(x[i], dy[o], sums[i * n + o]);
}
void add_outer(int32_t* sums, const int16_t* x, int64_t in, const int16_t* dy, int64_t n) {
  for (int64_t i = 0; i < in; ++i)
    for (int64_t o = 0; o < n; ++o) sums[i * n + o] += x[i] * dy[o];
}

// Adds the images [n, n + images), one block, to the chain.
template <class T, class V, class R>
void grad_weight_block(const Product& p, const ProductOperands& operands, const GradWeightScratch<V, R>& s,
                       int64_t group, R* chain, int64_t n, int64_t images) {
  const ConvGeometry& g = p.conv;
  constexpr bool kBlock = sizeof(V) == 2;
  constexpr bool kHalf = Chunk<V, R>::kSums == 2;
  const int64_t outputs = g.kh * g.kw * s.in * s.out_padded;
  const T* const x = static_cast<const T*>(operands.a) + n * g.h * g.w * g.c + group * s.in;
  const T* const dy = static_cast<const T*>(operands.b) + n * g.oh * g.ow * g.o + group * s.out;
  typename ScaleOf<V>::type x_scale;
  typename ScaleOf<V>::type dy_scale;
  const int64_t x_pixels = images * g.h * g.w;
  const int64_t dy_pixels = images * g.oh * g.ow;
  for (int64_t q = 0; q < x_pixels; ++q)
    for (int64_t i = 0; i < s.in; ++i) x_scale.see(x[q * g.c + i]);
  for (int64_t q = 0; q < dy_pixels; ++q)
    for (int64_t o = 0; o < s.out; ++o) dy_scale.see(dy[q * g.o + o]);
  x_scale.settle();
  dy_scale.settle();
  for (int64_t q = 0; q < x_pixels; ++q)
    for (int64_t i = 0; i < s.in; ++i) s.x[q * s.in + i] = x_scale.quantised(x[q * g.c + i]);
  V* const zeros = s.x + x_pixels * s.in;
  for (int64_t i = 0; i < s.in; ++i) zeros[i] = 0;
  for (int64_t q = 0; q < dy_pixels; ++q)
    for (int64_t o = 0; o < s.out_padded; ++o)
      s.dy[q * s.out_padded + o] = o < s.out ? dy_scale.quantised(dy[q * g.o + o]) : V{0};
  V* const dy_zeros = s.dy + dy_pixels * s.out_padded;
  for (int64_t o = 0; o < s.out_padded; ++o) dy_zeros[o] = 0;

  const float scale = x_scale.scale * dy_scale.scale;
  const auto flush = [&] {
    if constexpr (kBlock) {
      for (int64_t o = 0; o < outputs; ++o) chain[o] = fused(static_cast<float>(s.sums[o]), scale, chain[o]);
    }
    if constexpr (kHalf) {
      for (int64_t o = 0; o < outputs; ++o)
        chain[o] = chain[o] + (static_cast<float>(s.sums[o]) + static_cast<float>(s.sums[outputs + o]));
    }
    for (int64_t o = 0; o < Chunk<V, R>::kSums * outputs; ++o) s.sums[o] = 0;
  };
  for (int64_t o = 0; o < Chunk<V, R>::kSums * outputs; ++o) s.sums[o] = 0;
  // An odd row's last pixel has a partner: x where it lies, dy zero.
  const int64_t row_pixels = kHalf && g.kw > 1 ? round_up(g.ow, 2) : g.ow;
  const int64_t rows = images * g.oh;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t image = r / g.oh;
    const int64_t oh = r % g.oh;
    for (int64_t ow = 0; ow < row_pixels; ++ow) {
      const V* const dy_pixel = ow < g.ow ? s.dy + (r * g.ow + ow) * s.out_padded : dy_zeros;
      for (int64_t tap = 0; tap < g.kh * g.kw; ++tap) {
        const int64_t ih = oh * g.sh + tap / g.kw * g.dh - g.top;
        const int64_t iw = ow * g.sw + tap % g.kw * g.dw - g.left;
        const bool inside = ih >= 0 && ih < g.h && iw >= 0 && iw < g.w;
        const V* const x_pixel = inside ? s.x + ((image * g.h + ih) * g.w + iw) * s.in : zeros;
        if constexpr (kHalf)
          add_outer_half(s.sums + ow % 2 * outputs + tap * s.in * s.out_padded, x_pixel, s.in, dy_pixel,
                         s.out_padded);
        else if constexpr (kBlock)
          add_outer(s.sums + tap * s.in * s.out_padded, x_pixel, s.in, dy_pixel, s.out_padded);
        else
          add_outer(chain + tap * s.in * s.out_padded, x_pixel, s.in, dy_pixel, s.out_padded);
      }
      if (p.chunk_rows == 0 && (ow + 1) % kChunkTerms == 0 && ow + 1 < row_pixels) flush();
    }
    if (p.chunk_rows == 0 || (r + 1) % p.chunk_rows == 0 || r + 1 == rows) flush();
  }
}

template <class T, class V, class R>
void grad_weight_chain(const Product& p, const ProductOperands& operands, const GradWeightScratch<V, R>& s,
                       int64_t q) {
  const ConvGeometry& g = p.conv;
  const int64_t outputs = g.kh * g.kw * s.in * s.out_padded;
  const int64_t blocks = (g.n + p.block_images - 1) / p.block_images;
  for (int64_t group = 0; group < g.group; ++group) {
    R* const chain = s.chains + (q * g.group + group) * outputs;
    for (int64_t o = 0; o < outputs; ++o) chain[o] = 0;
    for (int64_t b = q * blocks / p.image_groups; b < (q + 1) * blocks / p.image_groups; ++b)
      grad_weight_block<T>(p, operands, s, group, chain, b * p.block_images,
                           least(p.block_images, g.n - b * p.block_images));
  }
}

// dw of one output channel from all chains.
template <class T, class V, class R>
void grad_weight_store(const Product& p, const ProductOperands& operands, const GradWeightScratch<V, R>& s,
                       int64_t channel) {
  const ConvGeometry& g = p.conv;
  const int64_t terms = g.kh * g.kw * s.in;
  const int64_t group = channel / s.out;
  for (int64_t i = 0; i < terms; ++i) {
    const R* chain = s.chains + (group * terms + i) * s.out_padded + channel % s.out;
    R sum = *chain;
    for (int64_t q = 1; q < p.image_groups; ++q) sum = sum + chain[q * g.group * terms * s.out_padded];
    static_cast<T*>(operands.y)[channel * terms + i] = num::narrow<T>(sum);
  }
}

// ---------------------------------------------------------------- MatMul
constexpr int64_t kRowsPerChunk = 16;

struct Batch {
  int64_t count, a_count, b_count;
};
Batch batch_of(const MatMulGeometry& g) {
  Batch b{1, 1, 1};
  for (int d = 0; d < g.batch_rank; ++d) {
    b.count *= g.batch[d];
    b.a_count += (g.batch[d] - 1) * g.a_stride[d];
    b.b_count += (g.batch[d] - 1) * g.b_stride[d];
  }
  return b;
}

template <class V, class R>
struct MatMulScratch {
  using Sum = typename Chunk<V, R>::Sum;
  V* b;           // [b matrix][k][n_padded]
  float* scales;  // [b matrix][run][n_padded]
  V* a;           // this worker's row, [k]
  R* acc;         // [n_padded]
  Sum* sums;      // [kSums][n_padded]
  int64_t n_padded, runs;
  int64_t bytes;

  MatMulScratch(const Product& p, std::byte* base, int worker, int threads) {
    const MatMulGeometry& g = p.matmul;
    n_padded = round_up(g.n, kLanes);
    runs = (g.k + kChunkTerms - 1) / kChunkTerms;
    const int64_t matrices = batch_of(g).b_count;
    Carver c{base};
    b = c.take<V>(matrices * g.k * n_padded);
    scales = c.take<float>(matrices * runs * n_padded);
    for (int w = 0; w < threads; ++w) {
      V* const a_here = c.take<V>(g.k);
      R* const acc_here = c.take<R>(n_padded);
      Sum* const sums_here = c.take<Sum>(Chunk<V, R>::kSums * n_padded);
      if (w != worker) continue;
      a = a_here;
      acc = acc_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

template <class T, class V, class R>
void arrange_b(const Product& p, const ProductOperands& operands, const MatMulScratch<V, R>& s,
               int64_t matrix) {
  const MatMulGeometry& g = p.matmul;
  const T* const b = static_cast<const T*>(operands.b) + matrix * g.k * g.n;
  const auto element = [&](int64_t k, int64_t n) { return g.trans_b ? b[n * g.k + k] : b[k * g.n + n]; };
  for (int64_t run = 0; run < s.runs; ++run)
    for (int64_t n = 0; n < s.n_padded; ++n) {
      const int64_t end = least((run + 1) * kChunkTerms, g.k);
      typename ScaleOf<V>::type scale;
      for (int64_t k = run * kChunkTerms; n < g.n && k < end; ++k) scale.see(element(k, n));
      scale.settle();
      s.scales[(matrix * s.runs + run) * s.n_padded + n] = scale.scale;
      for (int64_t k = run * kChunkTerms; k < end; ++k)
        s.b[(matrix * g.k + k) * s.n_padded + n] = n < g.n ? scale.quantised(element(k, n)) : V{0};
    }
}

template <class T, class V, class R>
void matmul_rows(const Product& p, const ProductOperands& operands, const MatMulScratch<V, R>& s,
                 int64_t chunk) {
  const MatMulGeometry& g = p.matmul;
  const int64_t chunks_a_matrix = (g.m + kRowsPerChunk - 1) / kRowsPerChunk;
  const int64_t batch = chunk / chunks_a_matrix;
  int64_t a_matrix = 0;
  int64_t b_matrix = 0;
  for (int64_t d = g.batch_rank - 1, rest = batch; d >= 0; --d) {
    a_matrix += rest % g.batch[d] * g.a_stride[d];
    b_matrix += rest % g.batch[d] * g.b_stride[d];
    rest /= g.batch[d];
  }
  const T* const a = static_cast<const T*>(operands.a) + a_matrix * g.m * g.k;
  const int64_t first = chunk % chunks_a_matrix * kRowsPerChunk;
  for (int64_t m = first; m < least(first + kRowsPerChunk, g.m); ++m) {
    Row<V, R> row{s.acc, s.sums, nullptr, 1, s.n_padded, 0};
    row.begin();
    for (int64_t run = 0; run < s.runs; ++run) {
      const int64_t begin = run * kChunkTerms;
      const int64_t count = least(kChunkTerms, g.k - begin);
      const auto element = [&](int64_t k) {
        return g.trans_a ? a[(begin + k) * g.m + m] : a[m * g.k + begin + k];
      };
      typename ScaleOf<V>::type scale;
      for (int64_t k = 0; k < count; ++k) scale.see(element(k));
      scale.settle();
      for (int64_t k = 0; k < count; ++k) s.a[k] = scale.quantised(element(k));
      row.scale_a = scale.scale;
      row.scale_b = s.scales + (b_matrix * s.runs + run) * s.n_padded;
      row.add(s.a, count, s.b + (b_matrix * g.k + begin) * s.n_padded);
      row.flush();
    }
    T* const y = static_cast<T*>(operands.y) + (batch * g.m + m) * g.n;
    for (int64_t n = 0; n < g.n; ++n)
      y[n] = finished<T>(row.acc[n], static_cast<R>(g.alpha), p.has_bias, operands.bias, n);
  }
}

// ---------------------------------------------------------------- plan and run
template <class T, class V>
void plan_as(ProductPlan& plan) {
  using R = typename Types<T>::R;
  const Product& p = plan.product;
  const ConvGeometry& g = p.conv;
  plan.stages = 2;
  switch (p.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      plan.chunks[0] = p.kind == ProductKind::kConv ? g.o : g.c;
      plan.chunks[1] = g.n;
      plan.scratch_bytes = ConvScratch<V, R>(p, sides_of(p), nullptr, 0, plan.threads).bytes;
      break;
    case ProductKind::kConvGradWeight:
      plan.chunks[0] = p.image_groups;
      plan.chunks[1] = g.o;
      plan.scratch_bytes = GradWeightScratch<V, R>(p, nullptr, 0, plan.threads).bytes;
      break;
    case ProductKind::kMatMul: {
      const Batch batch = batch_of(p.matmul);
      plan.chunks[0] = batch.b_count;
      plan.chunks[1] = batch.count * ((p.matmul.m + kRowsPerChunk - 1) / kRowsPerChunk);
      plan.scratch_bytes = MatMulScratch<V, R>(p, nullptr, 0, plan.threads).bytes;
      break;
    }
  }
}

template <class T, class V>
void run_as(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  using R = typename Types<T>::R;
  const Product& p = plan.product;
  switch (p.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput: {
      const Sides sides = sides_of(p);
      const ConvScratch<V, R> scratch(p, sides, x.scratch, worker, plan.threads);
      if (stage == 0)
        arrange_weights<T>(p, x, sides, scratch, chunk);
      else
        conv_image<T>(p, x, sides, scratch, chunk);
      break;
    }
    case ProductKind::kConvGradWeight: {
      const GradWeightScratch<V, R> scratch(p, x.scratch, worker, plan.threads);
      if (stage == 0)
        grad_weight_chain<T>(p, x, scratch, chunk);
      else
        grad_weight_store<T>(p, x, scratch, chunk);
      break;
    }
    case ProductKind::kMatMul: {
      const MatMulScratch<V, R> scratch(p, x.scratch, worker, plan.threads);
      if (stage == 0)
        arrange_b<T>(p, x, scratch, chunk);
      else
        matmul_rows<T>(p, x, scratch, chunk);
      break;
    }
  }
}

void plan(ProductPlan& plan) noexcept {
  const bool block = plan.product.multiply == Multiply::kBlock;
  if (plan.product.dtype == DType::kF64)
    plan_as<double, double>(plan);
  else if (plan.product.multiply == Multiply::kHalf)
    plan_as<num::Fp16, double>(plan);
  else if (block)
    plan_as<num::Fp16, int16_t>(plan);
  else
    plan_as<float, float>(plan);
}

void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  const bool block = plan.product.multiply == Multiply::kBlock;
  switch (plan.product.dtype) {
    case DType::kF64:
      return run_as<double, double>(plan, x, stage, chunk, worker);
    case DType::kF16:
      if (plan.product.multiply == Multiply::kHalf)
        return run_as<num::Fp16, double>(plan, x, stage, chunk, worker);
      return block ? run_as<num::Fp16, int16_t>(plan, x, stage, chunk, worker)
                   : run_as<num::Fp16, float>(plan, x, stage, chunk, worker);
    case DType::kBf16:
      return block ? run_as<num::Bf16, int16_t>(plan, x, stage, chunk, worker)
                   : run_as<num::Bf16, float>(plan, x, stage, chunk, worker);
    default:
      return run_as<float, float>(plan, x, stage, chunk, worker);
  }
}

// An image's channels of all groups.
Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  const ConvGeometry& g = plan.product.conv;
  const bool forward = plan.product.kind == ProductKind::kConv;
  const int64_t pixels = forward ? g.oh * g.ow : g.h * g.w;
  return {chunk * pixels, pixels, 0, 1, forward ? g.o : g.c};
}

}  // namespace

MatrixKernels matrix_kernels() {
  return {plan, written, run, true};
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
