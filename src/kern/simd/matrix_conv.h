// Conv and its input gradient: for each image, a band of source pixels is packed with its padding, and tiles
// of target pixels times output channels walk over it. The input gradient is the same work once for each
// stride phase, with a list of taps of its own.
//
// Stages: pack the weights; (block, when images are cut into bands) find each image's scale; multiply.
#pragma once

#include "kern/simd/matrix_axis.h"
#include "kern/simd/matrix_pack.h"
#include "kern/simd/matrix_taps.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// The shape of the work: a function of the product and the number of threads (which changes no bit).
struct ConvWork {
  bool backward, block;
  int64_t images, groups;
  int64_t in, out;  // channels of a group
  int64_t source_c, target_c;
  int64_t units;           // of a source pixel
  int64_t vectors, panel;  // vectors of outputs, altogether and in a panel
  int64_t taps, k_units;   // k_units: of the packed weights
  Axis h, w;
  int64_t band_h, band_w, bands_h, bands_w;  // in grid steps
  int64_t packed_h, packed_w;                // source pixels of a band
  int64_t together;                          // images packed at once, when they are small
  int64_t sub_rows;                          // grid rows whose fp32 sums wait together
  int64_t sums;                              // and how many they are
  int64_t source_units;                      // memory of a worker's packed source
  int64_t weight_units;                      // and of all packed weights
  int64_t max_segments;
  bool shared_taps;        // tiles whose columns share loads, where a phase has several neighbouring ones
  int64_t packed_vectors;  // of weights, in a chunk of stage 0

  ConvWork(const Product& p, int threads)
      : backward(p.kind == ProductKind::kConvGradInput),
        block(p.multiply != Multiply::kWide),
        images(p.conv.n),
        groups(p.conv.group),
        in((backward ? p.conv.o : p.conv.c) / groups),
        out((backward ? p.conv.c : p.conv.o) / groups),
        source_c(in * groups),
        target_c(out * groups),
        units(block ? (in + 1) / 2 : in),
        vectors(ceil_div(out, 16)),
        panel(1),
        taps(p.conv.kh * p.conv.kw),
        k_units(taps * units),
        h(backward, backward ? p.conv.oh : p.conv.h, backward ? p.conv.h : p.conv.oh, p.conv.kh, p.conv.sh,
          p.conv.dh, p.conv.top),
        w(backward, backward ? p.conv.ow : p.conv.w, backward ? p.conv.w : p.conv.ow, p.conv.kw, p.conv.sw,
          p.conv.dw, p.conv.left) {
    band_w = w.grid <= 320 ? w.grid : ceil_div(w.grid, ceil_div(w.grid, 256));
    if (threads > 1 && h.grid * images * groups < 4 * threads)
      band_w = most(least(band_w, 16), ceil_div(band_w * h.grid * images * groups, 4 * threads));
    bands_w = ceil_div(w.grid, band_w);
    packed_w = (band_w - 1) * w.step + w.reach + 1;
    constexpr int64_t kBandUnits = (256 << 10) / 4;  // fits any second-level cache beside the weights
    const int64_t rows = most(kBandUnits / (packed_w * units), h.reach + 1);
    band_h = least((rows - h.reach - 1) / h.step + 1, h.grid);
    const int64_t wanted = ceil_div(4 * threads, images * groups * bands_w);
    if (threads > 1 && ceil_div(h.grid, band_h) < wanted) band_h = ceil_div(h.grid, least(wanted, h.grid));
    band_h = ceil_div(h.grid, ceil_div(h.grid, band_h));
    bands_h = ceil_div(h.grid, band_h);
    packed_h = (band_h - 1) * h.step + h.reach + 1;
    panel = panel_vectors(vectors, band_w);
    // Weights come from afar once for every 128 pixels or more.
    together = bands() > 1 ? 1 : least(most(128 / (h.grid * w.grid), 1), images);
    if (threads > 1) together = most(least(together, images * groups / (2 * threads)), 1);
    constexpr int64_t kSums = (32 << 10) / 4;
    sub_rows = least(most(kSums / (band_w * panel * 16), 1), band_h * together);
    sums = sub_rows * band_w * panel * 16;
    source_units = together * packed_units() + 16;  // whole vectors are read
    packed_vectors = least(most(vectors * groups / (4 * threads), 1), least(vectors, kMostPacked));
    weight_units = groups * k_units * vectors * 16;
    shared_taps = kHasTapTiles && block && panel == 1 && w.step == 1 && w.dilation == 1 && k_units <= 512;
    max_segments = taps + ceil_div(k_units, kChunkUnits) + 1;
  }
  static constexpr int64_t kMostPacked = 16;
  int64_t panels() const { return ceil_div(vectors, panel); }
  int64_t panel_width(int64_t i) const { return least(panel, vectors - i * panel); }
  int64_t bands() const { return bands_h * bands_w; }
  int64_t image_groups() const { return ceil_div(images, together); }
  int64_t packed_units() const { return packed_h * packed_w * units; }
  bool scales_first() const { return block && bands() > 1; }
};

struct ConvScratch {
  Unit* weights;  // [group][panel][k][width * 16], from unit first_weight of that on
  int64_t first_weight = 0;
  float* weight_scales;  // [group][vectors * 16]
  BlockScale* images;    // [image][group], when scales come first
  Unit* source;          // this worker's band, [image]
  float* source_scales;  // [image]
  float* sums;           // [sub_rows * band_w][panel * 16]
  Segment* segments;
  TapSegment* tap_segments;
  int64_t* tap_rows;
  int64_t bytes;

  ConvScratch(const ConvWork& work, std::byte* base, int worker, int threads) {
    Carver c{base};
    weights = c.take<Unit>(work.weight_units);
    weight_scales = c.take<float>(work.groups * work.vectors * 16);
    images = c.take<BlockScale>(work.images * work.groups);
    for (int i = 0; i < threads; ++i) {
      Unit* const source_here = c.take<Unit>(work.source_units);
      float* const scales_here = c.take<float>(work.together);
      float* const sums_here = c.take<float>(work.sums);
      Segment* const segments_here = c.take<Segment>(work.max_segments);
      TapSegment* const tap_segments_here = c.take<TapSegment>(
          work.shared_taps ? 3 * work.h.taps + 4 * ceil_div(work.k_units, kChunkUnits) : 0);
      int64_t* const tap_rows_here = c.take<int64_t>(work.shared_taps ? work.h.taps : 0);
      if (i != worker) continue;
      tap_segments = tap_segments_here;
      tap_rows = tap_rows_here;
      source = source_here;
      source_scales = scales_here;
      sums = sums_here;
      segments = segments_here;
    }
    bytes = c.used;
  }
};

// f(tap, position in K) for the taps of phase (rh, rw), in the order of its sum. Returns the position after
// the last.
template <class Work, class Function>
HALFTONE_INLINE int64_t for_taps(const Work& work, int64_t rh, int64_t rw, int64_t position, Function f) {
  const auto tap = [&](int64_t kh, int64_t kw) {
    if (work.h.valid(rh, kh) && work.w.valid(rw, kw)) f(kh, kw, position++);
  };
  if (work.backward) {
    for (int64_t kh = work.h.taps - 1; kh >= 0; --kh)
      for (int64_t kw = work.w.taps - 1; kw >= 0; --kw) tap(kh, kw);
  } else {
    for (int64_t kh = 0; kh < work.h.taps; ++kh)
      for (int64_t kw = 0; kw < work.w.taps; ++kw) tap(kh, kw);
  }
  return position;
}

// ---------------------------------------------------------------- stage 0: weights
template <class T, bool kBlock>
void conv_pack_vector(const ConvWork& work, const ProductOperands& x, const ConvScratch& s, int64_t group,
                      int64_t vector) {
  const T* const w = static_cast<const T*>(x.b);
  const int64_t lanes = least(16, work.out - vector * 16);
  const int64_t which = vector / work.panel;
  const int64_t step = work.panel_width(which) * 16;
  Unit* const target =
      s.weights + (group * work.k_units * work.vectors * 16 + which * work.panel * 16 * work.k_units +
                   vector % work.panel * 16 - s.first_weight);
  float* const scale = s.weight_scales + (group * work.vectors + vector) * 16;
  alignas(64) float inverse[16];
  const T* const first = w + (group * work.out + vector * 16) * work.taps * work.in;
  const int64_t row = work.taps * work.in;
  for (int64_t l = 0; l < 16; ++l) {
    const BlockScale found =
        kBlock && l < lanes ? scale_of(largest_of<true>(first + l * row, row, 1, row)) : BlockScale{1, 1};
    scale[l] = found.scale;
    inverse[l] = found.inverse;
  }
  if (!kBlock || work.in % 2 == 0) {
    pack_transposed<T, kBlock>(first, row, lanes, target, step, row, inverse);
  } else {
    for (int64_t tap = 0; tap < work.taps; ++tap)
      pack_transposed<T, kBlock>(first + tap * work.in, row, lanes, target + tap * work.units * step, step,
                                 work.in, inverse);
  }
}

// The input gradient's: rows of weights are `vectors` vectors long, which share cache lines.
template <class T, bool kBlock>
void conv_pack_backward(const ConvWork& work, const ProductOperands& x, const ConvScratch& s, int64_t group,
                        int64_t vector, int64_t vectors) {
  const T* const w = static_cast<const T*>(x.b);
  const int64_t lanes = least(vectors * 16, work.out - vector * 16);
  const auto row_of = [&](int64_t i, int64_t tap) {
    return w + ((group * work.in + i) * work.taps + tap) * work.out + vector * 16;
  };
  alignas(64) float inverse[16 * ConvWork::kMostPacked];
  if constexpr (kBlock) {
    alignas(64) int32_t largest[16 * ConvWork::kMostPacked];
    zero_units(largest, vectors * 16);
    for (int64_t i = 0; i < work.in; ++i)
      for (int64_t tap = 0; tap < work.taps; ++tap) {
        const T* const row = row_of(i, tap);
        for (int64_t l = 0; l < lanes; l += 16) {
          const F here = l + 16 <= lanes ? widen(row + l) : widen(row + l, lanes - l);
          store(largest + l, larger(load(largest + l), magnitude_bits(here)));
        }
      }
    float* const scale = s.weight_scales + (group * work.vectors + vector) * 16;
    for (int64_t l = 0; l < lanes; l += 16) scales_of(load(largest + l), scale + l, inverse + l);
  }
  // A row's lanes from `l` on that lie in one panel go together.
  const auto pack_row = [&](int64_t position, const T* p, const T* q) {
    for (int64_t l = 0; l < lanes;) {
      const int64_t which = (vector + l / 16) / work.panel;
      const int64_t step = work.panel_width(which) * 16;
      const int64_t inside = vector * 16 + l - which * work.panel * 16;
      Unit* const y =
          s.weights + (group * work.k_units * work.vectors * 16 + which * work.panel * 16 * work.k_units +
                       position * step + inside - s.first_weight);
      const int64_t n = least(step - inside, lanes - l);
      pack_across<T, kBlock, false, true>(p + l, q == nullptr ? nullptr : q + l, y, n, inverse + l);
      l += n;
    }
  };
  const int64_t rows = kBlock ? 2 : 1;
  for (int64_t u = 0; u < work.units; ++u) {
    int64_t position = 0;
    for (int64_t rh = 0; rh < work.h.phases; ++rh)
      for (int64_t rw = 0; rw < work.w.phases; ++rw)
        position = for_taps(work, rh, rw, position, [&](int64_t kh, int64_t kw, int64_t at) {
          const int64_t tap = kh * work.w.taps + kw;
          pack_row(at * work.units + u, row_of(rows * u, tap),
                   kBlock && 2 * u + 1 < work.in ? row_of(2 * u + 1, tap) : nullptr);
        });
  }
}

template <class T, bool kBlock>
void conv_pack_weights(const ConvWork& work, const ProductOperands& x, const ConvScratch& s, int64_t chunk) {
  const int64_t chunks = ceil_div(work.vectors, work.packed_vectors);
  const int64_t group = chunk / chunks;
  const int64_t vector = chunk % chunks * work.packed_vectors;
  const int64_t vectors = least(work.packed_vectors, work.vectors - vector);
  if (work.backward) {
    conv_pack_backward<T, kBlock>(work, x, s, group, vector, vectors);
    return;
  }
  for (int64_t v = vector; v < vector + vectors; ++v) conv_pack_vector<T, kBlock>(work, x, s, group, v);
}

// ---------------------------------------------------------------- the packed band
template <class T>
BlockScale conv_image_scale(const ConvWork& work, const ProductOperands& x, int64_t image, int64_t group) {
  const int64_t pixels = work.h.source * work.w.source;
  return scale_of(
      largest_of<true>(static_cast<const T*>(x.a) + image * pixels * work.source_c + group * work.in, work.in,
                       pixels, work.source_c));
}

// Source rows [row, row + packed_h) and columns [column, ...) of one image and group, zeros outside the
// image.
template <class T, bool kBlock>
void conv_pack_source(const ConvWork& work, const T* image, int64_t row, int64_t column, float inverse,
                      Unit* y) {
  const int64_t row_units = work.packed_w * work.units;
  const int64_t left = least(most(-column, 0), work.packed_w);
  const int64_t end = most(least(work.w.source - column, work.packed_w), left);
  for (int64_t r = 0; r < work.packed_h; ++r, y += row_units) {
    if (row + r < 0 || row + r >= work.h.source) {
      zero_units(y, row_units);
      continue;
    }
    zero_units(y, left * work.units);
    pack_along<T, kBlock, true>(image + ((row + r) * work.w.source + column + left) * work.source_c,
                                work.source_c, y + left * work.units, work.units, work.in, end - left,
                                inverse);
    zero_units(y + end * work.units, (work.packed_w - end) * work.units);
  }
}

// ---------------------------------------------------------------- the last stage
// f(offset, units, flush) for the segments of one phase's K: runs of units that are neighbours in the packed
// source, cut at chunks of 64 units.
template <class Function>
void for_segments(const ConvWork& work, int64_t rh, int64_t rw, Function f) {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t filled = 0;
  const auto end_segment = [&](bool flush) {
    if (length > 0) f(begin, length, flush);
    length = 0;
  };
  for_taps(work, rh, rw, 0, [&](int64_t kh, int64_t kw, int64_t) {
    int64_t offset =
        ((work.h.base(rh, kh) - work.h.origin) * work.packed_w + work.w.base(rw, kw) - work.w.origin) *
        work.units;
    for (int64_t left = work.units; left > 0;) {
      const int64_t part = least(left, kChunkUnits - filled);
      if (begin + length != offset) end_segment(false);
      if (length == 0) begin = offset;
      length += part;
      offset += part;
      left -= part;
      filled += part;
      if (filled == kChunkUnits) {
        end_segment(true);
        filled = 0;
      }
    }
  });
  // What is left ends the last chunk.
  end_segment(true);
}
// Returns how many.
inline int64_t conv_segments(const ConvWork& work, int64_t rh, int64_t rw, Segment* segments) {
  int64_t n = 0;
  for_segments(work, rh, rw, [&](int64_t offset, int64_t length, bool flush) {
    segments[n++] = {offset, static_cast<int32_t>(length), flush ? 1 : 0};
  });
  return n;
}

// Where the pixels of a phase lie: its grid rows [i0, i1) and columns [j0, j1) of `images` images, all rows
// in one list.
struct PhaseRows {
  const ConvWork& work;
  int64_t rh, rw, i0, i1, j0, j1, images;
  int64_t rows() const { return images * (i1 - i0); }
  int64_t image(int64_t row) const { return row / (i1 - i0); }
  int64_t i(int64_t row) const { return i0 + row % (i1 - i0); }
  // In units, from the packed source.
  int64_t source(int64_t row, int64_t column) const {
    return image(row) * work.packed_units() +
           ((i(row) - i0) * work.h.step * work.packed_w + column * work.w.step) * work.units;
  }
  // In elements, from the first image's target.
  int64_t target(int64_t row, int64_t column) const {
    return ((image(row) * work.h.target + work.h.first(rh) + work.h.phases * i(row)) * work.w.target +
            work.w.first(rw) + work.w.phases * (j0 + column)) *
           work.target_c;
  }
  int64_t target_step() const { return work.w.phases * work.target_c; }
};

// All outputs of a panel in one phase. weights: the panel's, of this phase.
template <class T, bool kBlock>
void conv_panel(const ConvWork& work, const ConvScratch& s, const PhaseRows& phase, int64_t segments,
                int64_t width, const Unit* weights, const float* scales, const float* bias,
                int64_t real_lanes, T* target) {
  const int64_t lanes = width * 16;
  const TileFunction* const tiles = kTiles<kBlock, false>.of[width];
  const Split columns(phase.j1 - phase.j0, max_rows(static_cast<int>(width)));
  const int64_t rows = phase.rows();
  const int64_t y_step = phase.target_step();
  // As many units of the panel as stay in the first-level cache while the tiles pass over them.
  const int64_t cached = most(kChunkUnits, (16 << 10) / 4 / lanes);
  Tile t{};
  t.a_row = work.w.step * work.units;
  t.a_step = 1;
  t.b_step = lanes;
  t.c_row = lanes;
  t.scale_b = scales;
  for (int64_t sub = 0; sub < rows; sub += work.sub_rows) {
    const int64_t sub_end = least(sub + work.sub_rows, rows);
    t.b = weights;
    t.first = true;
    for (int64_t begin = 0; begin < segments || segments == 0;) {
      int64_t end = begin;
      int64_t units = 0;
      while (end < segments && (units < cached || s.segments[end - 1].flush == 0))
        units += s.segments[end++].length;
      t.segments = s.segments + begin;
      t.segment_count = end - begin;
      const bool last = end == segments;
      // Sums that needn't wait always use the same memory, which stays near.
      const bool alone = t.first && last;
      for (int64_t row = sub; row < sub_end; ++row) {
        t.scale_a = s.source_scales + phase.image(row);
        const Unit* const a = s.source + phase.source(row, 0);
        T* const y = target + phase.target(row, 0);
        for (int64_t tile = 0; tile < columns.tiles; ++tile) {
          const int64_t j = columns.begin(tile);
          const int m_count = columns.rows(tile);
          t.a = a + j * t.a_row;
          t.c = alone ? s.sums : s.sums + ((row - sub) * work.band_w + j) * lanes;
          if (segments == 0)
            zero_units(reinterpret_cast<Unit*>(t.c), m_count * lanes);  // no tap meets this phase
          else
            tiles[m_count](t);
          if (!last) continue;
          finish_rows(t.c, width, m_count, y + j * y_step, y_step, real_lanes, bias);
        }
      }
      if (last) break;
      t.b += units * lanes;
      t.first = false;
      begin = end;
    }
  }
}

// The same with tiles that share taps: `columns` neighbouring ones.
template <class T>
void conv_tap_panel(const ConvWork& work, const ConvScratch& s, const PhaseRows& phase, int64_t segments,
                    const Unit* weights, const float* scales, const float* bias, int64_t real_lanes,
                    T* target) {
  const Split columns(phase.j1 - phase.j0, kTapRows);
  TapTile<T> t{};
  t.pixel = work.units;
  t.segments = s.tap_segments;
  t.segment_count = segments;
  t.b = weights;
  t.b_column = work.units * 16;
  t.c = s.sums;
  t.scale_b = scales;
  t.y_step = phase.target_step();
  t.bias = bias;
  const bool whole = real_lanes == 16;
  for (int64_t row = 0; row < phase.rows(); ++row) {
    t.scale_a = s.source_scales + phase.image(row);
    const Unit* const a = s.source + phase.source(row, 0);
    T* const first = target + phase.target(row, 0);
    for (int64_t tile = 0; tile < columns.tiles; ++tile) {
      const int64_t j = columns.begin(tile);
      T* const y = first + j * t.y_step;
      t.a = a + j * work.units;
      t.y = whole ? y : nullptr;
      kTapTiles<T>.of[columns.rows(tile)](t);
      if (!whole) finish_rows(t.c, 1, columns.rows(tile), y, t.y_step, real_lanes, bias);
    }
  }
}

// How many neighbouring columns of taps a phase has, and its segments; 0 when they can't be shared.
inline int64_t conv_tap_segments(const ConvWork& work, const ConvScratch& s, int64_t rh, int64_t rw) {
  int64_t columns = 0;
  int64_t least_column = INT64_MAX;
  for (int64_t k = 0; k < work.w.taps; ++k)
    if (work.w.valid(rw, k)) {
      ++columns;
      least_column = least(least_column, work.w.base(rw, k));
    }
  if (!work.shared_taps || columns < 2 || columns > kMostTapColumns) return 0;
  int64_t rows = 0;
  const auto row = [&](int64_t kh) {
    if (work.h.valid(rh, kh))
      s.tap_rows[rows++] =
          ((work.h.base(rh, kh) - work.h.origin) * work.packed_w + least_column - work.w.origin) * work.units;
  };
  for (int64_t i = 0; i < work.h.taps; ++i) row(work.backward ? work.h.taps - 1 - i : i);
  return tap_segments(rows, columns, work.units, s.tap_rows, s.tap_segments);
}

template <class T, bool kBlock>
void conv_band(const ConvWork& work, const ProductOperands& x, const ConvScratch& s, int64_t chunk) {
  const int64_t band = chunk % work.bands();
  const int64_t group = chunk / work.bands() % work.groups;
  const int64_t image = chunk / work.bands() / work.groups * work.together;
  const int64_t images = least(work.together, work.images - image);
  const int64_t i0 = band / work.bands_w * work.band_h;
  const int64_t j0 = band % work.bands_w * work.band_w;
  const int64_t i_end = least(i0 + work.band_h, work.h.grid);
  const int64_t j_end = least(j0 + work.band_w, work.w.grid);
  for (int64_t n = 0; n < images; ++n) {
    BlockScale scale;
    if constexpr (kBlock)
      scale = work.scales_first() ? s.images[(image + n) * work.groups + group]
                                  : conv_image_scale<T>(work, x, image + n, group);
    s.source_scales[n] = scale.scale;
    const T* const source = static_cast<const T*>(x.a) +
                            (image + n) * work.h.source * work.w.source * work.source_c + group * work.in;
    conv_pack_source<T, kBlock>(work, source, i0 * work.h.step + work.h.origin,
                                j0 * work.w.step + work.w.origin, scale.inverse,
                                s.source + n * work.packed_units());
  }
  T* const target =
      static_cast<T*>(x.y) + image * work.h.target * work.w.target * work.target_c + group * work.out;
  const T* const bias = x.bias == nullptr ? nullptr : static_cast<const T*>(x.bias) + group * work.out;

  int64_t first_unit = 0;
  for (int64_t rh = 0; rh < work.h.phases; ++rh)
    for (int64_t rw = 0; rw < work.w.phases; ++rw) {
      const PhaseRows phase{
          work, rh, rw, i0, least(i_end, work.h.count(rh)), j0, least(j_end, work.w.count(rw)), images};
      const bool empty = phase.i0 >= phase.i1 || phase.j0 >= phase.j1;
      const int64_t segments = conv_segments(work, rh, rw, s.segments);
      const int64_t tap_segments = conv_tap_segments(work, s, rh, rw);
      const int64_t phase_first = first_unit;
      first_unit += for_taps(work, rh, rw, 0, [](int64_t, int64_t, int64_t) {}) * work.units;
      for (int64_t which = 0; which < work.panels() && !empty; ++which) {
        const int64_t width = work.panel_width(which);
        const int64_t first_lane = which * work.panel * 16;
        const int64_t real_lanes = least(width * 16, work.out - first_lane);
        alignas(64) float lanes[16 * kMaxVectors];
        const float* const lane_bias =
            bias_lanes(bias == nullptr ? nullptr : bias + first_lane, real_lanes, lanes);
        const Unit* const weights = s.weights + group * work.k_units * work.vectors * 16 +
                                    first_lane * work.k_units + phase_first * width * 16;
        const float* const scales = s.weight_scales + group * work.vectors * 16 + first_lane;
        if (tap_segments > 0)
          conv_tap_panel<T>(work, s, phase, tap_segments, weights, scales, lane_bias, real_lanes,
                            target + first_lane);
        else
          conv_panel<T, kBlock>(work, s, phase, segments, width, weights, scales, lane_bias, real_lanes,
                                target + first_lane);
      }
    }
}

// What conv_band writes: grid rows [i0, i_end) are the target rows of all phases from phases * i0 on.
inline Written conv_written(const ConvWork& work, int64_t chunk) {
  const int64_t band = chunk % work.bands();
  const int64_t image = chunk / work.bands() / work.groups * work.together;
  const int64_t images = least(work.together, work.images - image);
  const auto part = [](const Axis& axis, int64_t begin, int64_t size, int64_t& first) {
    first = least(axis.phases * begin, axis.target);
    return least(axis.phases * (begin + size), axis.target) - first;
  };
  int64_t row = 0;
  int64_t column = 0;
  const int64_t rows = part(work.h, band / work.bands_w * work.band_h, work.band_h, row);
  const int64_t columns = part(work.w, band % work.bands_w * work.band_w, work.band_w, column);
  const int64_t first = (image * work.h.target + row) * work.w.target + column;
  if (work.bands_w > 1) return {first, columns, work.w.target, rows, work.out};
  return {first, images * rows * columns, 0, 1, work.out};  // several images: whole ones
}

// ---------------------------------------------------------------- plan and run
inline void conv_plan(ProductPlan& plan) {
  const auto work = keep_work<ConvWork>(plan);
  plan.stages = 0;
  plan.chunks[plan.stages++] = work.groups * ceil_div(work.vectors, work.packed_vectors);
  if (work.scales_first()) {
    plan.scales_stage = plan.stages;
    plan.chunks[plan.stages++] = work.images * work.groups;
  }
  plan.chunks[plan.stages++] = work.image_groups() * work.groups * work.bands();
  plan.scratch_bytes = ConvScratch(work, nullptr, 0, plan.threads).bytes;
}

template <class T, bool kBlock>
void conv_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  const auto work = work_of<ConvWork>(plan);
  const ConvScratch s(work, x.scratch, worker, plan.threads);
  if (stage == 0) {
    conv_pack_weights<T, kBlock>(work, x, s, chunk);
  } else if (stage + 1 < plan.stages) {
    s.images[chunk] = conv_image_scale<T>(work, x, chunk / work.groups, chunk % work.groups);
  } else {
    conv_band<T, kBlock>(work, x, s, chunk);
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
