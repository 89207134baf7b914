// The weight gradient: lanes are output channels (dy), rows of a tile are (kh, kw, c) of x, and K is pixels. No shifted copies of x are needed:
// the taps of a row read the same packed pixels at different offsets.
//
// The result is cut into blocks (some input channels, all taps, some output channels) whose fp32 sums stay in the second-level cache while all
// images pass over them, packed piece by piece; within a block the sums of a few tiles stay in the first-level cache while the waiting pieces pass.
// Packing again for every block costs less than fetching sums, or packed pixels, from further away.
//
// block: a unit of K is two output pixels of a chunk, and sums are exact, so which two is free:
//   twins  the same pixel of two images, where a chunk holds several small ones: rows of 7 needn't be filled up to 8
//   halves pixel k of a row and the one half a row further, where a chunk holds whole rows. An odd row's last pixel is paired with 0.
//   else   neighbours: for rows longer than a chunk, and for `half`, where pairs are part of the meaning
// Taps of neighbours need a unit of x for every pixel, of twins and halves for every other one.
// Stages: (block, when there are several blocks of the result) find the scales; all chains of a block of the result, one after the other, and its
// store, or, when that gives too few chunks for the threads, each chain by itself, and a stage that adds the chains and stores.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct GradWeightWork {
  ConvGeometry g;
  bool block;
  int64_t groups, in, out;  // groups; channels of a group
  int64_t chain_images;     // a block of the meaning; chains consist of whole ones
  int64_t chunk_rows, chains, blocks;
  int64_t vectors, panel;
  bool merged;     // few channels: (kw, c) is one run of rows
  int64_t slice;   // input channels of a block of the result
  int64_t slab;    // and its panels
  int64_t run;     // rows that are neighbours in memory, at most: (kw, c) or c
  int64_t runs;    // kh, or (kh, kw)
  bool twins;      // block: a unit is a pixel of two images,
  bool halves;     // or of both halves of a row
  int64_t k_row;   // units of K in a row of pixels
  bool compact;    // one kernel column: packed x holds the pixels that meet an output, and no others
  int64_t stride;  // in units, from one packed pixel to the next
  int64_t x_step;  // in units, from one K to the next
  int64_t piece_images;
  int64_t piece_rows;      // rows of dy packed at a time, of each of the piece's images
  int64_t piece_k;         // units of K of each row: all but in long rows
  int64_t x_rows, x_cols;  // of packed x
  int64_t piece_segments;
  int64_t batch;  // pieces packed before the tiles pass over them
  bool spread;    // each chain is a chunk

  GradWeightWork(const Product& p, int threads)
      : g(p.conv),
        block(p.multiply != Multiply::kWide),
        groups(g.group),
        in(g.c / groups),
        out(g.o / groups),
        chain_images(p.block_images),
        chunk_rows(p.chunk_rows),
        chains(p.image_groups),
        blocks(ceil_div(g.n, p.block_images)) {
    vectors = ceil_div(out, 16);
    compact = g.kw == 1;
    merged = g.dw == 1 && g.kw > 1 && in <= 32;
    const int64_t taps = g.kh * g.kw;
    panel = panel_vectors(vectors, merged ? g.kw * in : in, true);
    choose_block(taps, threads);
    run = merged ? g.kw * in : slice;
    runs = merged ? g.kh : taps;
    twins = twins_pay();
    halves = block && !kHalf && !twins && chunk_rows > 0;
    k_row = ceil_div(g.ow, row_pixels());
    const int64_t pixels_a_step = compact ? 1 : k_pixels() * g.sw;
    stride = slice;
    if (!merged && slice >= 16) {
      // Neighbours in K lie an odd number of cache lines apart, else they crowd a few sets of the cache.
      stride = round_up(slice, 16);
      if (pixels_a_step > 1)
        stride += most(16 / pixels_a_step, 1);
      else if (stride % 32 == 0)
        stride += 16;
    }
    x_step = stride * pixels_a_step;
    choose_piece();
  }

  // Several images in a block are one chunk, however they are paired; it pays unless too many are left alone. The pairs of `half` are part of its
  // meaning.
  bool twins_pay() const {
    if (!block || kHalf || chain_images == 1) return false;
    const int64_t in_pairs = g.n / chain_images * ceil_div(chain_images, 2) + ceil_div(g.n % chain_images, 2);
    return in_pairs * g.ow <= g.n * ceil_div(g.ow, 2);
  }
  // Output pixels of a row in a unit; from the first of one unit to that of the next; from the first to the second.
  int64_t row_pixels() const { return block && !twins ? 2 : 1; }
  int64_t k_pixels() const { return halves ? 1 : row_pixels(); }
  int64_t apart() const { return halves ? k_row : 1; }
  int64_t unit_images(int64_t images) const { return twins ? ceil_div(images, 2) : images; }

  void choose_block(int64_t taps, int64_t threads) {
    constexpr int64_t kBlockSums = (384 << 10) / 4;
    constexpr int64_t kChainSums = (4 << 20) / 4;
    const int64_t all_sums = in * taps * vectors * 16;
    cut_result(taps, kBlockSums);
    spread = threads > 1 && groups * result_blocks() < 4 * threads && chains > 1;
    if (spread && chains * groups * all_sums > kChainSums) {
      // The sums of all chains would wait together: smaller blocks are shared out instead.
      cut_result(taps, groups * all_sums / (2 * threads));
      spread = groups * result_blocks() < 2 * threads;
    }
    // Whole blocks for each thread, however small the result.
    while (threads > 1 && slab > 1 && groups * result_blocks() * (spread ? chains : 1) < 2 * threads)
      slab = ceil_div(slab, 2);
  }
  // Of all ways to cut the result into blocks of at most block_sums the one that packs least.
  void cut_result(int64_t taps, int64_t block_sums) {
    slice = merged ? in : least(in, 16);
    slab = 1;
    int64_t least_packed = INT64_MAX;
    for (int64_t n = 1; n <= (merged ? 1 : ceil_div(in, 16)); ++n) {
      const int64_t channels = n == 1 ? in : round_up(ceil_div(in, n), 16);
      const int64_t fit = least(most(block_sums / (taps * channels * panel * 16), 1), panels());
      const int64_t slabs = ceil_div(panels(), fit);
      const int64_t cuts = ceil_div(in, channels);
      const int64_t packed = slabs * in + cuts * vectors * 16;
      if (packed < least_packed && (fit > 1 || panels() == 1 || taps * channels * panel * 16 <= block_sums)) {
        least_packed = packed;
        slice = channels;
        slab = ceil_div(panels(), slabs);
      }
    }
  }

  void choose_piece() {
    constexpr int64_t kPieceUnits = (192 << 10) / 4;
    constexpr int64_t kBatchUnits = (256 << 10) / 4;
    const int64_t reach = (g.kh - 1) * g.dh + 1;
    const auto units_of = [&](int64_t images, int64_t rows, int64_t k) {
      return unit_images(images) *
             (((rows - 1) * g.sh + reach) * columns(k) * stride + rows * k * slab * panel * 16);
    };
    piece_rows = g.oh;
    piece_k = k_row;
    piece_images = block ? chain_images
                         : least(most(kPieceUnits / units_of(1, g.oh, k_row), 1),
                                 chain_images * ceil_div(blocks, chains));
    if (piece_images == 1) {
      // A chunk must not be cut.
      const int64_t step = block && chunk_rows > 0 ? chunk_rows : 1;
      const int64_t steps = ceil_div(g.oh, step);
      const int64_t each = units_of(1, 1 + step, k_row) - units_of(1, 1, k_row);
      const int64_t fixed = units_of(1, step, k_row) - each;
      piece_rows =
          least(ceil_div(steps, ceil_div(steps * each, most(kPieceUnits - fixed, each))) * step, g.oh);
      const int64_t long_rows = ceil_div(units_of(1, 1, k_row), kPieceUnits);
      if (piece_rows == 1 && step == 1 && (!block || chunk_rows == 0))
        piece_k = least(round_up(ceil_div(k_row, long_rows), kChunkUnits), k_row);
    }
    x_cols = columns(piece_k);
    x_rows = (piece_rows - 1) * g.sh + reach;
    piece_segments = unit_images(piece_images) * piece_rows * ceil_div(piece_k, kChunkUnits);
    batch = least(most(kBatchUnits / units_of(piece_images, piece_rows, piece_k), 1), kMostPieces);
  }
  // Packed columns of x that k units meet. The last pair's second pixel may lie beyond the row: it meets a zero of dy.
  int64_t columns(int64_t k) const {
    return compact ? k : (k_pixels() * k - 1) * g.sw + (g.kw - 1) * g.dw + 1;
  }

  static constexpr int64_t kMostPieces = 64;
  int64_t panels() const { return ceil_div(vectors, panel); }
  int64_t panel_width(int64_t i) const { return least(panel, vectors - i * panel); }
  int64_t slices() const { return ceil_div(in, slice); }
  int64_t result_blocks() const { return slices() * ceil_div(panels(), slab); }
  int64_t block_sums() const { return slab * panel * 16 * runs * run; }
  bool scales_first() const { return block && (result_blocks() > 1); }
};

// A block of the result.
struct ResultBlock {
  int64_t channel, channels;    // of x
  int64_t panel, panels;        // of dy
  int64_t lane, lanes, filled;  // of the panels: the first, how many; how many of those exist
  int64_t run;                  // rows of a tile that are neighbours
  int64_t rows;

  ResultBlock(const GradWeightWork& w, int64_t index) {
    channel = index % w.slices() * w.slice;
    channels = least(w.slice, w.in - channel);
    panel = index / w.slices() * w.slab;
    panels = least(w.slab, w.panels() - panel);
    lane = panel * w.panel * 16;
    lanes = least(panels * w.panel, w.vectors - panel * w.panel) * 16;
    filled = least(lanes, w.out - lane);
    run = w.merged ? w.run : channels;
    rows = w.runs * run;
  }
};

// Packed x and dy of some rows of some images.
struct Piece {
  Unit* x;   // [image, or two][x_rows][x_cols][stride]
  Unit* dy;  // [panel][image, or two][row][piece_k][width * 16]
  int64_t segment_count;
  int64_t units;  // of K
  Segment* segments;
  bool first, last, first_chain;  // of its chain; its chain is the first
  float scale_x;
  alignas(64) float scale_dy[16 * kMaxVectors];  // the same in each lane
};

struct GradWeightScratch {
  BlockScale* scales;  // [group][block][x, dy], when they come first
  float* chains;       // spread: [group][result block][chain][panel][row][width * 16]
  float* sums;         // else this worker's: a chain of a result block,
  float* totals;       // and the chains before it
  Piece* pieces;
  int16_t* row;  // a quantised row of x
  int64_t bytes;

  GradWeightScratch(const GradWeightWork& w, std::byte* base, int worker, int threads) {
    Carver c{base};
    scales = c.take<BlockScale>(w.scales_first() ? w.groups * w.blocks * 2 : 0);
    chains = c.take<float>(w.spread ? w.groups * w.result_blocks() * w.chains * w.block_sums() : 0);
    for (int i = 0; i < threads; ++i) {
      float* const sums_here = c.take<float>(w.spread ? 0 : w.block_sums());
      float* const totals_here = c.take<float>(w.spread || w.chains == 1 ? 0 : w.block_sums());
      Piece* const pieces_here = c.take<Piece>(w.batch);
      int16_t* const row_here = c.take<int16_t>((w.x_cols + w.apart() * w.g.sw) * w.stride + 32);
      if (i == worker && base != nullptr) {
        sums = sums_here;
        totals = totals_here;
        pieces = pieces_here;
        row = row_here;
      }
      for (int64_t b = 0; b < w.batch; ++b) {
        const int64_t images = w.unit_images(w.piece_images);
        Unit* const x = c.take<Unit>(images * w.x_rows * w.x_cols * w.stride + 16);
        Unit* const dy = c.take<Unit>(images * w.piece_rows * w.piece_k * w.slab * w.panel * 16);
        Segment* const segments = c.take<Segment>(w.piece_segments);
        if (i != worker || base == nullptr) continue;
        pieces_here[b].x = x;
        pieces_here[b].dy = dy;
        pieces_here[b].segments = segments;
      }
    }
    bytes = c.used;
  }
};

// ---------------------------------------------------------------- packing
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

// Columns [0, x_cols) of a row in pairs, 16 channels at a time; source is the pixel of column `left`, there are `pixels` of them.
template <class T>
HALFTONE_INLINE void pack_x_pairs(const GradWeightWork& w, const T* source, int64_t channels, int64_t left,
                                  int64_t pixels, float inverse, Unit* y) {
  const F scale = splat(inverse);
  const int64_t sw = w.g.sw;
  const int64_t right = left + pixels;
  const int64_t from_step = sw * w.g.c;
  const int64_t to_step = sw * w.stride;
  for (int64_t c = 0; c < channels; c += 16) {
    const int64_t lanes = least(16, channels - c);
    const T* const p = source - left * w.g.c + c;
    const auto quantised = [&](int64_t column) {
      if (column < left || column >= right) return zero_i();
      return to_half_units(p + column * w.g.c, lanes, scale);
    };
    for (int64_t phase = 0; phase < sw; ++phase) {
      I next = quantised(phase);
      int64_t e = phase;
      const auto until = [&](int64_t end) {
        for (; e < end; e += sw) {
          const I here = next;
          next = quantised(e + sw);
          if (lanes == 16)
            store(y + e * w.stride + c, pair(here, next));
          else
            store(y + e * w.stride + c, pair(here, next), lanes);
        }
      };
      if (lanes == 16) {
        until(least(left - sw, w.x_cols));
        const int64_t end = least(right - sw, w.x_cols);
        const T* from = p + (e + sw) * w.g.c;
        Unit* to = y + e * w.stride + c;
        for (; e < end; e += sw, from += from_step, to += to_step) {
          const I here = next;
          next = to_half_units(from, 16, scale);
          store(to, pair(here, next));
        }
      }
      until(w.x_cols);
    }
  }
}

// How pixels of dy become units of K: unit k is the pixel at k * step and, for block and while k < pairs, the one `between` behind it.
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

// Which packed columns have a pixel in one half of their units: [begin, end), from element `from` of the row on, `step` elements apart.
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

// All packed columns of a row, from the rows that the halves of their units come from; x: the block's first channel. twin may be null.
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

// The packed columns of row ih, which the units of K from k on meet. x: the block's first channel of the image; twin: of the other image, if any.
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
  if (w.twins || w.compact || (w.halves && (!w.merged || w.in % 16 == 0))) {
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
    if (!w.merged || w.in % 16 == 0) {
      pack_x_pairs(w, source, channels, left, pixels, inverse, y);
      return;
    }
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

// ---------------------------------------------------------------- multiplying
// Adds a piece to the tiles [begin, end) of a panel of `width` vectors that begins at `lane` of the block. totals: null, or where chains are added up.
template <bool kBlock>
void multiply_piece(const GradWeightWork& w, const ResultBlock& result, const Piece& piece, int64_t lane,
                    int64_t width, int64_t begin, int64_t end, float* sums, float* totals) {
  const TileFunction* const tiles = kTiles<kBlock, true>.of[width];
  const Split split(result.run, max_rows(static_cast<int>(width), true));
  constexpr int64_t kNearUnits = (8 << 10) / 4;
  const int64_t cached = most(kChunkUnits, kNearUnits / (width * 16));
  Tile t{};
  t.a_row = 1;
  t.a_step = w.x_step;
  t.b = piece.dy + lane * piece.units;
  t.b_step = width * 16;
  t.c_row = width * 16;
  t.first = piece.first;
  t.total_first = piece.first_chain;
  t.scale_a = &piece.scale_x;
  t.scale_b = piece.scale_dy;
  for (int64_t segment = 0; segment < piece.segment_count;) {
    int64_t last = segment;
    int64_t units = 0;
    while (last < piece.segment_count && (units < cached || (kBlock && piece.segments[last - 1].flush == 0)))
      units += piece.segments[last++].length;
    t.segments = piece.segments + segment;
    t.segment_count = last - segment;
    const bool ends = totals != nullptr && piece.last && last == piece.segment_count;
    for (int64_t tile = begin; tile < end;) {
      const int64_t r = tile / split.tiles;
      const int64_t kh = w.merged ? r : r / w.g.kw;
      const int64_t kw = w.merged ? 0 : r % w.g.kw;
      const Unit* const a = piece.x + (kh * w.g.dh * w.x_cols + kw * w.g.dw) * w.stride;
      const int64_t run_end = least((r + 1) * split.tiles, end);
      for (int64_t part = tile % split.tiles; tile < run_end; ++tile, ++part) {
        const int64_t j = split.begin(part);
        const int64_t at = (r * result.run + j) * width * 16;
        t.a = a + j;
        t.c = sums + at;
        t.total = ends ? totals + at : nullptr;
        tiles[split.rows(part)](t);
      }
    }
    t.b += units * width * 16;
    t.first = false;
    segment = last;
  }
}

// The waiting pieces pass over all tiles of the block.
template <bool kBlock>
void multiply_waiting(const GradWeightWork& w, const GradWeightScratch& s, const ResultBlock& result,
                      int64_t waiting, float* sums, float* totals) {
  for (int64_t which = 0; which < result.panels; ++which) {
    const int64_t width = w.panel_width(result.panel + which);
    const int64_t lane = which * w.panel * 16;
    const int64_t most_rows = max_rows(static_cast<int>(width), true);
    const int64_t tiles = w.runs * Split(result.run, static_cast<int>(most_rows)).tiles;
    constexpr int64_t kNearSums = (16 << 10) / 4;
    const int64_t together = most(kNearSums / (most_rows * width * 16), 1);
    const int64_t at = lane * result.rows;
    for (int64_t tile = 0; tile < tiles; tile += together)
      for (int64_t i = 0; i < waiting; ++i)
        multiply_piece<kBlock>(w, result, s.pieces[i], lane, width, tile, least(tile + together, tiles),
                               sums + at, totals == nullptr ? nullptr : totals + at);
  }
}

// The scales of a block of images; in, out: channels of a group.
template <class T>
void find_scales(const ConvGeometry& g, int64_t in, int64_t out, const ProductOperands& operands,
                 int64_t group, int64_t image, int64_t images, BlockScale& x, BlockScale& dy) {
  x = scale_of(largest_of<true>(static_cast<const T*>(operands.a) + image * g.h * g.w * g.c + group * in, in,
                                images * g.h * g.w, g.c));
  dy = scale_of(largest_of<true>(static_cast<const T*>(operands.b) + image * g.oh * g.ow * g.o + group * out,
                                 out, images * g.oh * g.ow, g.o));
}

// The chains [chain, chain_end) of a block of the result, each from 0.
template <class T, bool kBlock>
void add_chains(const GradWeightWork& w, const ProductOperands& operands, const GradWeightScratch& s,
                int64_t group, const ResultBlock& result, int64_t chain, int64_t chain_end, float* sums,
                float* totals) {
  const ConvGeometry& g = w.g;
  int64_t waiting = 0;
  for (int64_t q = chain; q < chain_end; ++q) {
    const int64_t begin = q * w.blocks / w.chains * w.chain_images;
    const int64_t end = least((q + 1) * w.blocks / w.chains * w.chain_images, g.n);
    for (int64_t image = begin; image < end; image += w.piece_images) {
      const int64_t images = least(w.piece_images, end - image);
      BlockScale scales[2];
      if constexpr (kBlock) {
        const BlockScale* const found = s.scales + (group * w.blocks + image / w.chain_images) * 2;
        if (w.scales_first())
          scales[0] = found[0], scales[1] = found[1];
        else
          find_scales<T>(g, w.in, w.out, operands, group, image, images, scales[0], scales[1]);
      }
      for (int64_t row = 0; row < g.oh; row += w.piece_rows)
        for (int64_t k = 0; k < w.k_row; k += w.piece_k) {
          const Pixels at{
              image, images, row, least(row + w.piece_rows, g.oh), k, least(k + w.piece_k, w.k_row)};
          Piece& piece = s.pieces[waiting];
          pack_piece<T, kBlock>(w, operands, s, result, group, at, scales[0], scales[1], piece);
          piece.first = image == begin && row == 0 && k == 0;
          piece.last = image + images == end && at.row_end == g.oh && at.k_end == w.k_row;
          piece.first_chain = q == chain;
          if (++waiting < w.batch) continue;
          multiply_waiting<kBlock>(w, s, result, waiting, sums, totals);
          waiting = 0;
        }
    }
  }
  multiply_waiting<kBlock>(w, s, result, waiting, sums, totals);
}

// Stores one panel of a block of the result from `chains` sets of sums, `between` apart.
template <class T>
void store_panel(const GradWeightWork& w, const ProductOperands& operands, int64_t group,
                 const ResultBlock& result, int64_t which, const float* sums, int64_t chains,
                 int64_t between) {
  const int64_t width = w.panel_width(result.panel + which);
  const int64_t row_terms = w.g.kh * w.g.kw * w.in;
  const int64_t run_step = w.merged ? result.run : w.in;
  sums += which * w.panel * 16 * result.rows;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t v = 0; v < width; ++v) {
    const int64_t lane = result.lane + (which * w.panel + v) * 16;
    const int64_t channels = least(16, w.out - lane);
    T* const y =
        static_cast<T*>(operands.y) + (group * w.out + lane) * row_terms + (w.merged ? 0 : result.channel);
    for (int64_t r = 0; r < w.runs; ++r)
      for (int64_t j = 0; j < result.run; j += 16) {
        const int64_t n = least(16, result.run - j);
        for (int64_t i = 0; i < n; ++i) {
          const float* const p = sums + ((r * result.run + j + i) * width + v) * 16;
          F sum = load(p);
          for (int64_t q = 1; q < chains; ++q) sum = add(sum, load(p + q * between));
          store(reinterpret_cast<float*>(in + 16 * i), sum);
        }
        transpose(in, out, 16);
        for (int64_t l = 0; l < channels; ++l) {
          const F row = load(reinterpret_cast<const float*>(out + 16 * l));
          T* const to = y + l * row_terms + r * run_step + j;
          if (n == 16)
            narrow(to, row);
          else
            narrow(to, row, n);
        }
      }
  }
}

inline void grad_weight_plan(ProductPlan& plan) {
  const GradWeightWork w(plan.product, plan.threads);
  const int64_t results = w.groups * w.result_blocks();
  plan.stages = 0;
  if (w.scales_first()) plan.chunks[plan.stages++] = w.groups * w.blocks;
  plan.chunks[plan.stages++] = results * (w.spread ? w.chains : 1);
  if (w.spread) plan.chunks[plan.stages++] = results * w.slab;
  plan.scratch_bytes = GradWeightScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T, bool kBlock>
void grad_weight_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
                     int worker) {
  const GradWeightWork w(plan.product, plan.threads);
  const GradWeightScratch s(w, x.scratch, worker, plan.threads);
  if (w.scales_first() && stage-- == 0) {
    if constexpr (kBlock) {
      const int64_t image = chunk % w.blocks * w.chain_images;
      find_scales<T>(w.g, w.in, w.out, x, chunk / w.blocks, image, least(w.chain_images, w.g.n - image),
                     s.scales[2 * chunk], s.scales[2 * chunk + 1]);
    }
    return;
  }
  const int64_t each = w.spread ? (stage == 0 ? w.chains : w.slab) : 1;
  const int64_t index = chunk / each;
  const int64_t part = chunk % each;
  const int64_t group = index / w.result_blocks();
  const ResultBlock result(w, index % w.result_blocks());
  float* const chains = s.chains + index * w.chains * w.block_sums();
  if (!w.spread) {
    const bool alone = w.chains == 1;
    add_chains<T, kBlock>(w, x, s, group, result, 0, w.chains, s.sums, alone ? nullptr : s.totals);
    for (int64_t which = 0; which < result.panels; ++which)
      store_panel<T>(w, x, group, result, which, alone ? s.sums : s.totals, 1, 0);
  } else if (stage == 0) {
    add_chains<T, kBlock>(w, x, s, group, result, part, part + 1, chains + part * w.block_sums(), nullptr);
  } else if (part < result.panels) {
    store_panel<T>(w, x, group, result, part, chains, w.chains, w.block_sums());
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
