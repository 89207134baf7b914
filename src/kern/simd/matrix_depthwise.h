// Depthwise convolutions (as many groups as input and output channels), always `wide`: lanes are channels, nothing is packed but the weights, and
// values are widened in registers. Tiles are a few neighbouring pixels, so that what a row of taps shares is widened once.
//
// A tap outside the image multiplies a zero (which matters where a weight isn't finite), so nothing is left out at the edges.
#pragma once

#include "kern/simd/matrix_axis.h"
#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

inline bool is_depthwise(const Product& p) {
  return p.kind != ProductKind::kMatMul && p.conv.group > 1 && p.conv.group == p.conv.c &&
         p.conv.group == p.conv.o;
}

// 16 channels of a pixel; `lanes` of them exist.
template <class T>
HALFTONE_INLINE F pixel_of(const T* p, int64_t lanes) {
  return lanes >= 16 ? widen(p) : widen(p, lanes);
}

// Columns beside the image read this pixel.
template <class T>
struct ZeroPixel {
  alignas(64) static constexpr T channels[16] = {};
};

// N neighbouring pixels of 16 channels from column `column` of a row (null: zeros). kEdge: some may lie outside [0, width).
template <bool kEdge, int N, class T>
HALFTONE_INLINE void load_pixels(const T* row, int64_t column, int64_t width, int64_t channels, F (&x)[N]) {
  if (row == nullptr) {
    HALFTONE_UNROLL
    for (int i = 0; i < N; ++i) x[i] = zero_f();
    return;
  }
  const T* const p = row + column * channels;
  HALFTONE_UNROLL
  for (int i = 0; i < N; ++i) {
    if constexpr (kEdge) {
      const bool inside = static_cast<uint64_t>(column + i) < static_cast<uint64_t>(width);
      x[i] = widen(inside ? p + i * channels : ZeroPixel<T>::channels);
    } else {
      x[i] = widen(p + i * channels);
    }
  }
}

// ---------------------------------------------------------------- Conv and its input gradient
struct DepthwiseWork {
  bool backward;
  int64_t images, channels, vectors, taps;
  Axis h, w;
  int64_t band, bands;  // target rows of a chunk

  DepthwiseWork(const Product& p, int threads)
      : backward(p.kind == ProductKind::kConvGradInput),
        images(p.conv.n),
        channels(p.conv.c),
        vectors(ceil_div(channels, 16)),
        taps(p.conv.kh * p.conv.kw),
        h(backward, backward ? p.conv.oh : p.conv.h, backward ? p.conv.h : p.conv.oh, p.conv.kh, p.conv.sh,
          p.conv.dh, p.conv.top),
        w(backward, backward ? p.conv.ow : p.conv.w, backward ? p.conv.w : p.conv.ow, p.conv.kw, p.conv.sw,
          p.conv.dw, p.conv.left) {
    // What follows hand in hand finds a band's targets in the second-level cache.
    constexpr int64_t kNear = 64 << 10;
    bands = ceil_div(h.target * w.target * channels, kNear);
    if (threads > 1) bands = most(bands, ceil_div(4 * threads, images));
    band = ceil_div(h.target, least(bands, h.target));
    bands = ceil_div(h.target, band);
  }
};

// The taps that a row, and a phase of its columns, meet, in the order of the sum.
struct RowTaps {
  int64_t rows, columns;
  const void** source;  // [rows], null outside the image
  int64_t* row_weight;  // [rows]: floats from a vector's weights
  int64_t* column;      // [columns]: source column of target 0
  int64_t* column_weight;
};

struct DepthwiseScratch {
  float* weights;  // [vector][tap][16]
  RowTaps taps;    // this worker's
  int64_t bytes;

  DepthwiseScratch(const DepthwiseWork& work, std::byte* base, int worker, int threads) {
    Carver c{base};
    weights = c.take<float>(work.vectors * work.taps * 16);
    for (int i = 0; i < threads; ++i) {
      const RowTaps here{0,
                         0,
                         c.take<const void*>(work.h.taps),
                         c.take<int64_t>(work.h.taps),
                         c.take<int64_t>(work.w.taps),
                         c.take<int64_t>(work.w.taps)};
      if (i == worker) taps = here;
    }
    bytes = c.used;
  }
};

template <class T>
HALFTONE_INLINE void depthwise_put(T* y, F x, const T* bias, int64_t lanes) {
  if (bias != nullptr) x = add(x, pixel_of(bias, lanes));
  if (lanes >= 16)
    narrow(y, x);
  else
    narrow(y, x, lanes);
}

// M targets of 16 channels whose N columns of taps are neighbours, S source pixels between targets; the first `count` are stored. column: of the
// first target's first tap.
template <class T, int M, int N, int S, bool kEdge>
void depthwise_tile(const RowTaps& taps, int64_t column, int64_t width, int64_t channels, int64_t channel,
                    const float* weights, const T* bias, T* y, int64_t y_step, int64_t count) {
  constexpr int64_t size = sizeof(T);
  F acc[M];
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) acc[m] = zero_f();
  // Of the rows of taps, the last is new.
  if (taps.rows > 0 && taps.source[taps.rows - 1] != nullptr) {
    const T* const next = static_cast<const T*>(taps.source[taps.rows - 1]) + column * channels + channel;
    HALFTONE_UNROLL
    for (int i = 0; i < M * S; ++i) prefetch(next + i * channels, kPrefetchBytes + M * S * channels * size);
  }
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) prefetch(y + m * y_step, kPrefetchBytes + M * y_step * size);
  for (int64_t r = 0; r < taps.rows; ++r) {
    F x[(M - 1) * S + N];
    const T* const row = static_cast<const T*>(taps.source[r]);
    load_pixels<kEdge>(row == nullptr ? nullptr : row + channel, column, width, channels, x);
    HALFTONE_UNROLL
    for (int t = 0; t < N; ++t) {
      const F w = load(weights + taps.row_weight[r] + taps.column_weight[t]);
      HALFTONE_UNROLL
      for (int m = 0; m < M; ++m) acc[m] = fma(x[m * S + t], w, acc[m]);
    }
  }
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m)
    if (!kEdge || m < count) depthwise_put(y + m * y_step, acc[m], bias, 16);
}

// Any taps, any channels; column: of target 0's source, may be outside.
template <class T, int M>
void depthwise_any(const RowTaps& taps, int64_t column, int64_t step, int64_t width, int64_t channels,
                   int64_t channel, int64_t lanes, const float* weights, const T* bias, T* y,
                   int64_t y_step) {
  F acc[M];
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) acc[m] = zero_f();
  for (int64_t r = 0; r < taps.rows; ++r) {
    const T* const p = static_cast<const T*>(taps.source[r]);
    for (int64_t t = 0; t < taps.columns; ++t) {
      const F w = load(weights + taps.row_weight[r] + taps.column_weight[t]);
      HALFTONE_UNROLL
      for (int m = 0; m < M; ++m) {
        const int64_t at = column + m * step + taps.column[t];
        const bool inside = p != nullptr && at >= 0 && at < width;
        const F x = inside ? pixel_of(p + at * channels + channel, lanes) : zero_f();
        acc[m] = fma(x, w, acc[m]);
      }
    }
  }
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) depthwise_put(y + m * y_step, acc[m], bias, lanes);
}

template <class T>
using DepthwiseTile = void (*)(const RowTaps&, int64_t, int64_t, int64_t, int64_t, const float*, const T*, T*,
                               int64_t, int64_t);
// By the step and the number of neighbouring columns.
template <class T, int M, bool kEdge>
DepthwiseTile<T> depthwise_tile_for(int64_t step, int64_t columns) {
  if (step == 1 && columns == 1) return depthwise_tile<T, M, 1, 1, kEdge>;
  if (step == 1 && columns == 2) return depthwise_tile<T, M, 2, 1, kEdge>;
  if (step == 1 && columns == 3) return depthwise_tile<T, M, 3, 1, kEdge>;
  if (step == 1 && columns == 5) return depthwise_tile<T, M, 5, 1, kEdge>;
  if (step == 1 && columns == 7) return depthwise_tile<T, M, 7, 1, kEdge>;
  if (step == 2 && columns == 3) return depthwise_tile<T, M, 3, 2, kEdge>;
  if (step == 2 && columns == 5) return depthwise_tile<T, M, 5, 2, kEdge>;
  return nullptr;
}

// One phase of the columns of one row of targets; y: of the phase's first target.
template <class T>
void depthwise_row(const DepthwiseWork& work, const DepthwiseScratch& s, int64_t targets, const T* bias,
                   T* y) {
  constexpr int64_t kTile = kDepthwisePixels;
  const RowTaps& taps = s.taps;
  const int64_t step = work.w.step;
  const int64_t width = work.w.source;
  const int64_t y_step = work.w.phases * work.channels;
  bool neighbours = taps.columns > 0;
  for (int64_t t = 0; t < taps.columns; ++t) neighbours = neighbours && taps.column[t] == taps.column[0] + t;
  const DepthwiseTile<T> inner =
      neighbours ? depthwise_tile_for<T, kTile, false>(step, taps.columns) : nullptr;
  const DepthwiseTile<T> edge = neighbours ? depthwise_tile_for<T, kTile, true>(step, taps.columns) : nullptr;
  for (int64_t next = 0; next < targets; next += kTile) {
    // The last tile takes some targets again rather than few.
    const int64_t j = edge == nullptr ? next : most(least(next, targets - kTile), 0);
    const int64_t count = least(kTile, targets - j);
    const int64_t column = neighbours ? j * step + taps.column[0] : 0;
    const bool inside = count == kTile && column >= 0 && column + (kTile - 1) * step + taps.columns <= width;
    for (int64_t vector = 0; vector < work.vectors; ++vector) {
      const int64_t c = vector * 16;
      const float* const weights = s.weights + c * work.taps;
      const T* const b = bias == nullptr ? nullptr : bias + c;
      if (edge != nullptr && c + 16 <= work.channels) {
        (inside ? inner : edge)(taps, column, width, work.channels, c, weights, b, y + j * y_step + c, y_step,
                                count);
        continue;
      }
      for (int64_t m = 0; m < count; ++m)
        depthwise_any<T, 1>(taps, (j + m) * step, step, width, work.channels, c, work.channels - c, weights,
                            b, y + (j + m) * y_step + c, y_step);
    }
  }
}

// f(k) for the valid taps of a phase, in the order of the sum.
template <class Function>
HALFTONE_INLINE void for_axis_taps(const Axis& axis, int64_t phase, Function f) {
  for (int64_t i = 0; i < axis.taps; ++i) {
    const int64_t k = axis.backward ? axis.taps - 1 - i : i;
    if (axis.valid(phase, k)) f(k);
  }
}

template <class T>
void depthwise_band(const DepthwiseWork& work, const ProductOperands& x, DepthwiseScratch s, int64_t chunk) {
  const int64_t image = chunk / work.bands;
  const int64_t begin = chunk % work.bands * work.band;
  const int64_t end = least(begin + work.band, work.h.target);
  const T* const source = static_cast<const T*>(x.a) + image * work.h.source * work.w.source * work.channels;
  T* const target = static_cast<T*>(x.y) + image * work.h.target * work.w.target * work.channels;
  RowTaps& taps = s.taps;
  for (int64_t row = begin; row < end; ++row) {
    int64_t rh = 0;
    while ((row - work.h.first(rh)) % work.h.phases != 0 || row < work.h.first(rh)) ++rh;
    const int64_t i = (row - work.h.first(rh)) / work.h.phases;
    taps.rows = 0;
    for_axis_taps(work.h, rh, [&](int64_t k) {
      const int64_t at = work.h.base(rh, k) + work.h.step * i;
      const bool inside = at >= 0 && at < work.h.source;
      taps.source[taps.rows] = inside ? source + at * work.w.source * work.channels : nullptr;
      taps.row_weight[taps.rows++] = k * work.w.taps * 16;
    });
    for (int64_t rw = 0; rw < work.w.phases; ++rw) {
      taps.columns = 0;
      for_axis_taps(work.w, rw, [&](int64_t k) {
        taps.column[taps.columns] = work.w.base(rw, k);
        taps.column_weight[taps.columns++] = k * 16;
      });
      depthwise_row<T>(work, s, work.w.count(rw), static_cast<const T*>(x.bias),
                       target + (row * work.w.target + work.w.first(rw)) * work.channels);
    }
  }
}

// ---------------------------------------------------------------- the weight gradient
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
      // Vectors of 16 channels pass over a band of pixels one after the other, so the first would wait for every line of
      // memory. Instead each row of each vector asks for a share of the next band, of this image or the chain's next.
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

inline Written depthwise_written(const DepthwiseWork& work, int64_t chunk) {
  const int64_t row = chunk % work.bands * work.band;
  const int64_t rows = least(work.band, work.h.target - row);
  return {(chunk / work.bands * work.h.target + row) * work.w.target, rows * work.w.target, 0, 1,
          work.channels};
}

// ---------------------------------------------------------------- plan and run
inline void depthwise_plan(ProductPlan& plan) {
  plan.stages = 2;
  if (plan.product.kind == ProductKind::kConvGradWeight) {
    const DepthwiseGradWork w(plan.product, plan.threads);
    plan.chunks[0] = w.chains * w.parts;
    plan.chunks[1] = w.vectors;
    plan.scratch_bytes = DepthwiseGradScratch(w, nullptr).bytes;
    return;
  }
  const DepthwiseWork work(plan.product, plan.threads);
  plan.chunks[0] = work.vectors;
  plan.chunks[1] = work.images * work.bands;
  plan.scratch_bytes = DepthwiseScratch(work, nullptr, 0, plan.threads).bytes;
}

template <class T>
void depthwise_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  if (plan.product.kind == ProductKind::kConvGradWeight) {
    const DepthwiseGradWork w(plan.product, plan.threads);
    const DepthwiseGradScratch s(w, x.scratch);
    if (stage == 0)
      depthwise_grad_chain<T>(w, x, s, chunk);
    else
      depthwise_grad_store<T>(w, x, s, chunk);
    return;
  }
  const DepthwiseWork work(plan.product, plan.threads);
  const DepthwiseScratch s(work, x.scratch, worker, plan.threads);
  if (stage == 0)
    pack_transposed<T, false>(
        static_cast<const T*>(x.b) + chunk * 16 * work.taps, work.taps, least(16, work.channels - chunk * 16),
        reinterpret_cast<Unit*>(s.weights) + chunk * 16 * work.taps, 16, work.taps, nullptr);
  else
    depthwise_band<T>(work, x, s, chunk);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
