// Packs the operands of a weight gradient (matrix_grad_weight.h): a piece's rows of dy, and what their pixels
// meet of x, in units of K.
#pragma once

#include "kern/simd/matrix_grad_weight_work.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// y[e] = (row[e], row[e + shift]) for e < n.
inline void pair_up(const int16_t* row, int64_t shift, Unit* y, int64_t n) {
  for (int64_t e = 0; e < n; e += 16) {
    const I both = pair(load_low(row + e), load_low(row + e + shift));
    if (e + 16 <= n)
      store(y + e, both);
    else
      store(y + e, both, n - e);
  }
}

// n <= 16 elements as halves of units.
template <class T>
HALFTONE_INLINE I to_half_units(const T* p, int64_t n, F scale) {
  if constexpr (kHalf)
    return load_low(p, 0, n);
  else
    return quantise_low(n >= 16 ? widen(p) : widen(p, n), scale);
}

// How pixels of dy become units of K: unit k is the pixel at k * step and, for block and while k < pairs, the
// one `between` behind it.
struct DyOrder {
  int64_t step, between, pairs;
};

// One row of dy: `count` units of K of V vectors.
template <class T, bool kBlock, int V>
void pack_dy_panel(const T* p, const DyOrder& order, Unit* y, int64_t count, float inverse) {
  const F scale = splat(inverse);
  for (int64_t k = 0; k < count; ++k, y += 16 * V, p += order.step) {
    if constexpr (kBlock) {
      const bool both = k < order.pairs;
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) {
        const I low = to_half_units(p + 16 * v, 16, scale);
        const I high = both ? to_half_units(p + order.between + 16 * v, 16, scale) : zero_i();
        store(y + 16 * v, pair(low, high));
      }
    } else {
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) store(reinterpret_cast<float*>(y + 16 * v), widen(p + 16 * v));
    }
  }
}
// The same for as many of the panel's lanes as exist.
template <class T, bool kBlock>
void pack_dy(const T* p, const DyOrder& order, Unit* y, int64_t count, float inverse, int64_t width,
             int64_t lanes) {
  if (lanes == width * 16) {
    if constexpr (kMaxVectors > 1) {
      if (width == 4) return pack_dy_panel<T, kBlock, 4>(p, order, y, count, inverse);
      if (width == 3) return pack_dy_panel<T, kBlock, 3>(p, order, y, count, inverse);
      if (width == 2) return pack_dy_panel<T, kBlock, 2>(p, order, y, count, inverse);
    }
    return pack_dy_panel<T, kBlock, 1>(p, order, y, count, inverse);
  }
  alignas(64) float all[16];
  store(all, splat(inverse));
  for (int64_t k = 0; k < count; ++k, y += width * 16, p += order.step)
    pack_across<T, kBlock, true, true>(p, kBlock && k < order.pairs ? p + order.between : nullptr, y, lanes,
                                       all);
}

// Which packed columns have a pixel in one half of their units: [begin, end), from element `from` of the row
// on, `step` elements apart.
struct Columns {
  int64_t begin = 0, end = 0, from = 0, step = 0;

  // Column e is pixel first + e * pixels.
  Columns(const GradWeightWork& w, int64_t first, int64_t pixels) : step(pixels * w.g.c) {
    // compact: where there is no output, `half` must not meet x, which may be infinite
    const int64_t row_end = w.compact ? least(w.g.w, (w.g.ow - 1) * w.g.sw - w.g.left + 1) : w.g.w;
    begin = least(ceil_div(most(-first, 0), pixels), w.x_cols);
    end = most(least(ceil_div(most(row_end - first, 0), pixels), w.x_cols), begin);
    from = (first + begin * pixels) * w.g.c;
  }
  bool has(int64_t column) const { return begin <= column && column < end; }
  // Where has() changes next.
  int64_t change(int64_t column) const { return column < begin ? begin : column < end ? end : INT64_MAX; }
  int64_t at(int64_t column) const { return from + (column - begin) * step; }
};
// Of the rows of a piece.
struct XColumns {
  Columns low, high;

  XColumns(const GradWeightWork& w, int64_t k)
      : XColumns(w, k * w.k_pixels() * w.g.sw - w.g.left, w.compact ? w.k_pixels() * w.g.sw : 1) {}

 private:
  XColumns(const GradWeightWork& w, int64_t first, int64_t pixels)
      : low(w, first, pixels), high(w, w.twins ? first : first + w.apart() * w.g.sw, pixels) {}
};

// n units of p and q, or of one of them and 0.
template <bool kLow, bool kHigh, class T>
HALFTONE_INLINE void pack_two(const T* p, const T* q, Unit* y, int64_t n, F scale) {
  const auto units = [&](int64_t i, int64_t lanes) {
    return pair(kLow ? to_half_units(p + i, lanes, scale) : zero_i(),
                kHigh ? to_half_units(q + i, lanes, scale) : zero_i());
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, units(i, 16));
  if (i < n) store(y + i, units(i, n - i), n - i);
}

// All packed columns of a row, from the rows that the halves of their units come from; x: the block's first
// channel. twin may be null.
template <class T, bool kBlock>
void pack_x_columns(const GradWeightWork& w, const XColumns& columns, const T* x, const T* twin,
                    int64_t channels, float inverse, Unit* y) {
  const Columns& low = columns.low;
  const Columns& high = columns.high;
  const F scale = splat(inverse);
  const bool contiguous = channels == w.stride && low.step == channels;
  for (int64_t column = 0, next; column < w.x_cols; column = next) {
    next = least(least(low.change(column), high.change(column)), w.x_cols);
    const bool is_low = low.has(column);
    const bool is_high = kBlock && twin != nullptr && high.has(column);
    const T* const p = is_low ? x + low.at(column) : nullptr;
    const T* const q = is_high ? twin + high.at(column) : nullptr;
    const auto pack = [&](auto&& units) {
      const int64_t runs = contiguous ? 1 : next - column;
      const int64_t run = contiguous ? (next - column) * channels : channels;
      for (int64_t i = 0; i < runs; ++i) units(i * low.step, y + (column + i) * w.stride, run);
    };
    if (!is_low && !is_high)
      zero_units(y + column * w.stride, (next - column) * w.stride);
    else if constexpr (!kBlock)
      pack([&](int64_t at, Unit* to, int64_t n) {
        widen_run<false>(p + at, reinterpret_cast<float*>(to), n);
      });
    else if (is_low && is_high)
      pack([&](int64_t at, Unit* to, int64_t n) { pack_two<true, true>(p + at, q + at, to, n, scale); });
    else if (is_low)
      pack([&](int64_t at, Unit* to, int64_t n) { pack_two<true, false>(p + at, q, to, n, scale); });
    else
      pack([&](int64_t at, Unit* to, int64_t n) { pack_two<false, true>(p, q + at, to, n, scale); });
  }
}

// The packed columns of row ih, which the units of K from k on meet. x: the block's first channel of the
// image; twin: of the other image, if any.
template <class T, bool kBlock>
void pack_x_row(const GradWeightWork& w, const XColumns& columns, const T* x, const T* twin, int64_t channels,
                int64_t ih, int64_t k, float inverse, int16_t* row, Unit* y) {
  const ConvGeometry& g = w.g;
  const int64_t n = w.x_cols * w.stride;
  if (ih < 0 || ih >= g.h) {
    zero_units(y, n);
    return;
  }
  const int64_t at = ih * g.w * g.c;
  if (w.twins || w.compact || (kBlock && (!w.merged || w.in % 16 == 0))) {
    const T* const other = !w.twins ? x + at : twin == nullptr ? nullptr : twin + at;
    pack_x_columns<T, kBlock>(w, columns, x + at, other, channels, inverse, y);
    return;
  }
  const int64_t first = k * w.k_pixels() * g.sw - g.left;
  const int64_t apart = w.apart() * g.sw;
  const int64_t cols = w.x_cols + (kBlock ? apart : 0);
  const int64_t left = least(most(-first, 0), w.x_cols);
  const int64_t pixels = most(least(g.w - most(first, 0), cols - left), 0);
  const T* const source = x + at + most(first, 0) * g.c;
  if constexpr (kBlock) {
    __builtin_memset(row, 0, static_cast<size_t>(left * w.in) * 2);
    if (w.in == g.c) {
      quantise_run<true>(source, row + left * w.in, pixels * w.in, splat(inverse));
    } else {
      for (int64_t q = 0; q < pixels; ++q)
        quantise_run<true>(source + q * g.c, row + (left + q) * w.in, w.in, splat(inverse));
    }
    __builtin_memset(row + (left + pixels) * w.in, 0,
                     static_cast<size_t>((cols - left - pixels) * w.in + 16) * 2);
    pair_up(row, apart * w.in, y, n);
  } else {
    zero_units(y, left * w.stride);
    pack_along<T, false, true>(source, g.c, y + left * w.stride, w.stride, channels, pixels, 1);
    zero_units(y + (left + pixels) * w.stride, (w.x_cols - left - pixels) * w.stride);
  }
}

// Some pixels of some images.
struct Pixels {
  int64_t image, images, row, row_end;
  int64_t k, k_end;  // units of K of each row
};

// Packs dy, and what it meets of x.
template <class T, bool kBlock>
void pack_piece(const GradWeightWork& w, const ProductOperands& operands, const GradWeightScratch& s,
                const ResultBlock& result, int64_t group, const Pixels& at, BlockScale scale_x,
                BlockScale scale_dy, Piece& piece) {
  const ConvGeometry& g = w.g;
  const int64_t rows = at.row_end - at.row;
  const int64_t k_count = at.k_end - at.k;
  const int64_t x_rows = (rows - 1) * g.sh + (g.kh - 1) * g.dh + 1;
  const int64_t x_image = g.h * g.w * g.c;
  const int64_t dy_image = g.oh * g.ow * g.o;
  const int64_t unit_images = w.unit_images(at.images);
  for (float& l : piece.scale_dy) l = scale_dy.scale;
  piece.scale_x = scale_x.scale;
  piece.units = unit_images * rows * k_count;
  piece.segment_count = 0;
  const XColumns columns(w, at.k);
  int64_t rows_in_chunk = 0;
  for (int64_t i = 0; i < unit_images; ++i) {
    const int64_t image = at.image + i * (w.twins ? 2 : 1);
    const bool twin = w.twins && image + 1 < at.image + at.images;
    const T* const x = static_cast<const T*>(operands.a) + image * x_image + group * w.in + result.channel;
    const T* const dy = static_cast<const T*>(operands.b) + image * dy_image + group * w.out + result.lane;
    for (int64_t r = 0; r < x_rows; ++r) {
      const int64_t ih = at.row * g.sh - g.top + r;
      Unit* const to = piece.x + (i * x_rows + r) * w.x_cols * w.stride;
      pack_x_row<T, kBlock>(w, columns, x, twin ? x + x_image : nullptr, result.channels, ih, at.k,
                            scale_x.inverse, s.row, to);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const T* const source = dy + (at.row + r) * g.ow * g.o;
      const int64_t first_k = (i * rows + r) * k_count;
      // A few units of K of every panel before the next: rows of dy are contiguous, panels aren't.
      constexpr int64_t kTurn = 16;
      for (int64_t k = 0; k < k_count; k += kTurn) {
        const int64_t ow = (at.k + k) * w.k_pixels();
        const int64_t pairs = w.halves ? g.ow - w.apart() - ow : (g.ow - ow) / 2;
        const DyOrder order = w.twins ? DyOrder{g.o, dy_image, twin ? kTurn : 0}
                                      : DyOrder{w.k_pixels() * g.o, w.apart() * g.o, pairs};
        for (int64_t l = 0; l < result.lanes; l += w.panel * 16) {
          const int64_t lanes = least(w.panel * 16, result.lanes - l);
          pack_dy<T, kBlock>(source + ow * g.o + l, order, piece.dy + l * piece.units + (first_k + k) * lanes,
                             least(kTurn, k_count - k), scale_dy.inverse, lanes / 16,
                             least(lanes, result.filled - l));
        }
      }
      const int64_t offset = (i * x_rows + r * g.sh) * w.x_cols * w.stride;
      const bool row_ends_chunk = ++rows_in_chunk == w.chunk_rows || (i + 1 == unit_images && r + 1 == rows);
      for (int64_t k = 0; k < k_count; k += kChunkUnits) {
        const int64_t length = least(kChunkUnits, k_count - k);
        const bool flush = w.chunk_rows == 0 || (row_ends_chunk && k + length == k_count);
        piece.segments[piece.segment_count++] = {offset + k * w.x_step, static_cast<int32_t>(length),
                                                 flush ? 1 : 0};
      }
      if (row_ends_chunk) rows_in_chunk = 0;
    }
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
