// The weight gradient of depthwise convolutions (matrix_depthwise.h): the sums of a few taps of 16 channels
// stay in registers while pixels pass.
//
// Stages: chains of whole images; the sum of the chains.
#pragma once

#include "kern/simd/matrix_depthwise_pixels.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct DepthwiseGradWork {
  ConvGeometry g;
  int64_t chain_images, chains, blocks;
  int64_t vectors, taps;
  int64_t parts;  // a chain's vectors are divided among so many chunks
  int64_t rows;   // of outputs that a vector passes over at a time

  DepthwiseGradWork(const Product& p, int threads)
      : g(p.conv),
        chain_images(p.block_images),
        chains(p.image_groups),
        blocks(ceil_div(g.n, p.block_images)),
        vectors(ceil_div(g.c, 16)),
        taps(g.kh * g.kw) {
    parts = threads == 1 ? 1 : least(ceil_div(2 * threads, chains), vectors);
    // All vectors of x and dy should stay in the second-level cache.
    constexpr int64_t kNear = (192 << 10) / 4;
    rows = least(most(kNear / ((g.sh * g.w + g.ow) * g.c), 1), g.oh);
  }
};

struct DepthwiseGradScratch {
  float* chains;  // [chain][vector][tap][16]
  int64_t bytes;
  DepthwiseGradScratch(const DepthwiseGradWork& w, std::byte* base) {
    Carver c{base};
    chains = c.take<float>(w.chains * w.vectors * w.taps * 16);
    bytes = c.used;
  }
};

// KH rows of N neighbouring taps: adds P outputs of one row. column: the first output's first tap.
template <class T, int KH, int N, int S, int P, bool kEdge>
HALFTONE_INLINE void depthwise_grad_tile(const T* const* x, const T* dy, int64_t channels, int64_t width,
                                         int64_t column, F (&acc)[KH][N]) {
  F d[P];
  HALFTONE_UNROLL
  for (int p = 0; p < P; ++p) d[p] = widen(dy + p * channels);
  HALFTONE_UNROLL
  for (int kh = 0; kh < KH; ++kh) {
    F v[(P - 1) * S + N];
    load_pixels<kEdge>(x[kh], column, width, channels, v);
    HALFTONE_UNROLL
    for (int p = 0; p < P; ++p) {
      HALFTONE_UNROLL
      for (int t = 0; t < N; ++t) acc[kh][t] = fma(v[p * S + t], d[p], acc[kh][t]);
    }
  }
}
template <class T, int KH, int N, int S>
HALFTONE_INLINE void depthwise_grad_row(const T* const* x, const T* dy, int64_t channels, int64_t width,
                                        int64_t column, int64_t outputs, F (&acc)[KH][N]) {
  constexpr int P = kDepthwiseGradPixels;
  int64_t j = 0;
  for (; j + P <= outputs; j += P) {
    const int64_t first = column + j * S;
    if (first >= 0 && first + (P - 1) * S + N <= width)
      depthwise_grad_tile<T, KH, N, S, P, false>(x, dy + j * channels, channels, width, first, acc);
    else
      depthwise_grad_tile<T, KH, N, S, P, true>(x, dy + j * channels, channels, width, first, acc);
  }
  for (; j < outputs; ++j)
    depthwise_grad_tile<T, KH, N, S, 1, true>(x, dy + j * channels, channels, width, column + j * S, acc);
}

// One output, any taps inside or outside, any channels; the taps are dilation apart.
template <class T, int KH, int N>
HALFTONE_INLINE void depthwise_grad_one(const T* const* x, const T* dy, int64_t channels, int64_t lanes,
                                        int64_t width, int64_t column, int64_t dilation, F (&acc)[KH][N]) {
  const F d = pixel_of(dy, lanes);
  HALFTONE_UNROLL
  for (int kh = 0; kh < KH; ++kh) {
    HALFTONE_UNROLL
    for (int t = 0; t < N; ++t) {
      const int64_t at = column + t * dilation;
      const bool inside = x[kh] != nullptr && at >= 0 && at < width;
      acc[kh][t] = fma(inside ? pixel_of(x[kh] + at * channels, lanes) : zero_f(), d, acc[kh][t]);
    }
  }
}

// Taps [kh, kh + KH) x [kw, kw + N) of 16 channels: rows [row, row_end) of an image are added to the sums.
template <class T, int KH, int N>
void depthwise_grad_taps(const DepthwiseGradWork& w, const T* x, const T* dy, int64_t lanes, int64_t row,
                         int64_t row_end, int64_t kh, int64_t kw, bool first, float* sums,
                         Wanted (&wanted)[2]) {
  const ConvGeometry& g = w.g;
  float* const mine = sums + (kh * g.kw + kw) * 16;
  F acc[KH][N];
  HALFTONE_UNROLL
  for (int i = 0; i < KH; ++i) {
    HALFTONE_UNROLL
    for (int t = 0; t < N; ++t) acc[i][t] = first ? zero_f() : load(mine + (i * g.kw + t) * 16);
  }
  const int64_t column = kw * g.dw - g.left;
  const bool fast = lanes >= 16 && g.dw == 1 && g.sw <= 2;
  for (int64_t r = row; r < row_end; ++r) {
    const T* rows[KH];
    HALFTONE_UNROLL
    for (int i = 0; i < KH; ++i) {
      const int64_t ih = r * g.sh + (kh + i) * g.dh - g.top;
      rows[i] = ih >= 0 && ih < g.h ? x + ih * g.w * g.c : nullptr;
    }
    const T* const d = dy + r * g.ow * g.c;
    wanted[0].ask();
    wanted[1].ask();
    if (fast && g.sw == 1) {
      depthwise_grad_row<T, KH, N, 1>(rows, d, g.c, g.w, column, g.ow, acc);
    } else if (fast) {
      depthwise_grad_row<T, KH, N, 2>(rows, d, g.c, g.w, column, g.ow, acc);
    } else {
      for (int64_t j = 0; j < g.ow; ++j)
        depthwise_grad_one<T, KH, N>(rows, d + j * g.c, g.c, lanes, g.w, column + j * g.sw, g.dw, acc);
    }
  }
  HALFTONE_UNROLL
  for (int i = 0; i < KH; ++i) {
    HALFTONE_UNROLL
    for (int t = 0; t < N; ++t) store(mine + (i * g.kw + t) * 16, acc[i][t]);
  }
}

template <class T>
void depthwise_grad_chain(const DepthwiseGradWork& w, const ProductOperands& operands,
                          const DepthwiseGradScratch& s, int64_t chunk) {
  const ConvGeometry& g = w.g;
  const int64_t chain = chunk / w.parts;
  const int64_t part = chunk % w.parts;
  const int64_t begin = chain * w.blocks / w.chains * w.chain_images;
  const int64_t end = least((chain + 1) * w.blocks / w.chains * w.chain_images, g.n);
  for (int64_t image = begin; image < end; ++image)
    for (int64_t row = 0; row < g.oh; row += w.rows) {
      const int64_t row_end = least(row + w.rows, g.oh);
      const bool first = image == begin && row == 0;
      // Vectors of 16 channels pass over a band of pixels one after the other, so the first would wait for
      // every line of memory. Instead each row of each vector asks for a share of the next band, of this
      // image or the chain's next.
      const int64_t after = image * g.oh + row_end;
      const int64_t rows_after = least(w.rows, end * g.oh - after);
      const int64_t turns = ((part + 1) * w.vectors / w.parts - part * w.vectors / w.parts) * (row_end - row);
      const int64_t dy_row = g.ow * g.c * static_cast<int64_t>(sizeof(T));
      const int64_t x_row = g.h * g.w * g.c * static_cast<int64_t>(sizeof(T)) / g.oh;  // for one row of dy
      Wanted wanted[2] = {
          {static_cast<const char*>(operands.a) + after * x_row, rows_after, x_row, x_row, turns},
          {static_cast<const char*>(operands.b) + after * dy_row, rows_after, dy_row, dy_row, turns}};
      for (int64_t vector = part * w.vectors / w.parts; vector < (part + 1) * w.vectors / w.parts; ++vector) {
        const int64_t lanes = g.c - vector * 16;
        const T* const x = static_cast<const T*>(operands.a) + image * g.h * g.w * g.c + vector * 16;
        const T* const dy = static_cast<const T*>(operands.b) + image * g.oh * g.ow * g.c + vector * 16;
        float* const sums = s.chains + (chain * w.vectors + vector) * w.taps * 16;
        if (g.kh == 3 && g.kw == 3) {
          depthwise_grad_taps<T, 3, 3>(w, x, dy, lanes, row, row_end, 0, 0, first, sums, wanted);
          continue;
        }
        for (int64_t kh = 0; kh < g.kh; ++kh)
          for (int64_t kw = 0; kw < g.kw;) {
            if (g.kw - kw >= 5) {
              depthwise_grad_taps<T, 1, 5>(w, x, dy, lanes, row, row_end, kh, kw, first, sums, wanted);
              kw += 5;
            } else if (g.kw - kw >= 3) {
              depthwise_grad_taps<T, 1, 3>(w, x, dy, lanes, row, row_end, kh, kw, first, sums, wanted);
              kw += 3;
            } else {
              depthwise_grad_taps<T, 1, 1>(w, x, dy, lanes, row, row_end, kh, kw, first, sums, wanted);
              kw += 1;
            }
          }
      }
    }
}

// Stage 1: 16 channels, from all chains.
template <class T>
void depthwise_grad_store(const DepthwiseGradWork& w, const ProductOperands& operands,
                          const DepthwiseGradScratch& s, int64_t vector) {
  const int64_t channels = least(16, w.g.c - vector * 16);
  T* const y = static_cast<T*>(operands.y) + vector * 16 * w.taps;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t tap = 0; tap < w.taps; tap += 16) {
    const int64_t n = least(16, w.taps - tap);
    for (int64_t i = 0; i < n; ++i) {
      const float* const p = s.chains + (vector * w.taps + tap + i) * 16;
      F sum = load(p);
      for (int64_t q = 1; q < w.chains; ++q) sum = add(sum, load(p + q * w.vectors * w.taps * 16));
      store(reinterpret_cast<float*>(in + 16 * i), sum);
    }
    transpose(in, out, 16);
    for (int64_t l = 0; l < channels; ++l) {
      const F row = load(reinterpret_cast<const float*>(out + 16 * l));
      if (n == 16)
        narrow(y + l * w.taps + tap, row);
      else
        narrow(y + l * w.taps + tap, row, n);
    }
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
