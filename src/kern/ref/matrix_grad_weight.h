// The weight gradient: blocks of images are added to chains, pixel by pixel.
//
// Stages: chains; the weights of each output channel from all chains.
#pragma once

#include "kern/ref/matrix_sums.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

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
template <class R>
void add_outer(R* sums, const R* x, int64_t in, const R* dy, int64_t n) {
  for (int64_t i = 0; i < in; ++i)
    for (int64_t o = 0; o < n; ++o) sums[i * n + o] = fma(x[i], dy[o], sums[i * n + o]);
}
void add_outer_half(double* sums, const double* x, int64_t in, const double* dy, int64_t n) {
  for (int64_t i = 0; i < in; ++i)
    for (int64_t o = 0; o < n; ++o) sums[i * n + o] = fma_half(x[i], dy[o], sums[i * n + o]);
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
      for (int64_t o = 0; o < outputs; ++o) chain[o] = fma(static_cast<float>(s.sums[o]), scale, chain[o]);
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
  const int64_t blocks = ceil_div(g.n, p.block_images);
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

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS
