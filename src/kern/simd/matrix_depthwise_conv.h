// Depthwise Conv and its input gradient (matrix_depthwise.h): bands of target rows, tiles of a few
// neighbouring targets of 16 channels.
//
// Stages: widen and transpose the weights; bands.
#pragma once

#include "kern/simd/matrix_axis.h"
#include "kern/simd/matrix_depthwise_pixels.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

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

// M targets of 16 channels whose N columns of taps are neighbours, S source pixels between targets; the first
// `count` are stored. column: of the first target's first tap.
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

inline Written depthwise_written(const DepthwiseWork& work, int64_t chunk) {
  const int64_t row = chunk % work.bands * work.band;
  const int64_t rows = least(work.band, work.h.target - row);
  return {(chunk / work.bands * work.h.target + row) * work.w.target, rows * work.w.target, 0, 1,
          work.channels};
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
