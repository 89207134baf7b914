// Matrix products: lanes are columns of y, rows of a tile are rows of y.
//
// Stages: pack a; then a chunk takes a group of columns and a band of rows. It walks along K in blocks of
// `depth` units: packs what the group has of b there, and passes its tiles over that and the band's part of
// a. The three (packed b, packed a, the fp32 sums) fit the second-level cache together whatever the sizes of
// the matrices, b is never packed as a whole, and each is read from afar once a chunk. Where K is short
// enough for that cache to hold all of it, a chunk takes several bands and packs what the group has of b once
// for all of them.
#pragma once

#include "kern/simd/matrix_pack.h"
#include "kern/simd/prefetch.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// How many of its bands a chunk takes, when they share b, so that there are `wanted` chunks and more.
inline int64_t bands_together(int64_t bands, int64_t groups, int64_t wanted) {
  return ceil_div(bands, least(bands, ceil_div(wanted, groups)));
}

struct MatMulWork {
  static constexpr int64_t kDepthRuns = 4;
  static constexpr int64_t kBand = 256;         // rows: 256 KiB of a with kDepthRuns
  static constexpr int64_t kGroupVectors = 16;  // 256 columns: 256 KiB of b, and of sums with kBand
  // Rows of packed a don't lie a power of two apart: they would share a few sets of the first-level cache.
  static constexpr int64_t kGap = 16;
  static constexpr int64_t kKeptUnits = (512 << 10) / 4;  // of b

  MatMulGeometry g;
  bool block;
  int64_t batches, a_matrices;
  int64_t k_units, runs, depths;
  int64_t depth;  // units of K in a block: all, where there are few
  int64_t vectors, panel;
  int64_t band, bands;    // rows
  int64_t group, groups;  // panels
  int64_t bands_each;     // bands of a chunk

  MatMulWork(const Product& p, int threads)
      : g(p.matmul), block(p.multiply != Multiply::kWide), batches(1), a_matrices(1) {
    for (int d = 0; d < g.batch_rank; ++d) {
      batches *= g.batch[d];
      a_matrices += (g.batch[d] - 1) * g.a_stride[d];
    }
    k_units = block ? (g.k + 1) / 2 : g.k;
    runs = ceil_div(k_units, kChunkUnits);
    depths = ceil_div(runs, kDepthRuns);
    depth = least(runs, kDepthRuns) * kChunkUnits;
    vectors = ceil_div(g.n, 16);
    band = ceil_div(g.m, ceil_div(g.m, kBand));
    bands = ceil_div(g.m, band);
    panel = panel_vectors(vectors, band);
    group = most(kGroupVectors / panel, 1);
    // Enough chunks for all workers: narrower groups first, which only read a more often, then lower bands.
    const int64_t wanted = threads == 1 ? 1 : ceil_div(4 * threads, batches);
    if (bands * ceil_div(panels(), group) < wanted) {
      group = most(least(group, panels() * bands / wanted), 1);
      const int64_t all_groups = ceil_div(panels(), group);
      if (bands * all_groups < wanted) {
        band =
            most(ceil_div(g.m, ceil_div(wanted, all_groups)), least(max_rows(static_cast<int>(panel)), g.m));
        band = ceil_div(g.m, ceil_div(g.m, band));
        bands = ceil_div(g.m, band);
      }
    }
    groups = ceil_div(panels(), group);
    bands_each = group_lanes() * depth * depths <= kKeptUnits ? bands_together(bands, groups, wanted) : 1;
  }
  int64_t panels() const { return ceil_div(vectors, panel); }
  int64_t panel_width(int64_t i) const { return least(panel, vectors - i * panel); }
  int64_t band_groups() const { return ceil_div(bands, bands_each); }
  // Blocks of K of which b is there at once.
  int64_t kept_depths() const { return bands_each > 1 ? depths : 1; }
  int64_t group_lanes() const { return least(group * panel, vectors) * 16; }
  // Packed a: [matrix][band][depth][row][unit], or with trans_a [matrix][band][depth][unit][row].
  int64_t a_step() const { return g.trans_a ? round_up(band, 16) + kGap : 1; }
  int64_t a_row() const { return g.trans_a ? 1 : depth + kGap; }
  int64_t a_block() const { return g.trans_a ? depth * a_step() : band * a_row(); }
  int64_t a_scale_rows() const { return round_up(g.m, 16) + 16; }
};

// The a and b of a batch.
struct BatchMatrices {
  int64_t a = 0, b = 0;
  BatchMatrices(const MatMulGeometry& g, int64_t batch) {
    for (int64_t d = g.batch_rank - 1; d >= 0; --d) {
      a += batch % g.batch[d] * g.a_stride[d];
      b += batch % g.batch[d] * g.b_stride[d];
      batch /= g.batch[d];
    }
  }
};

// f(batch, group, band, whether it is the first) for the bands of a chunk of stage 1.
template <class Work, class Function>
HALFTONE_INLINE void for_bands(const Work& w, int64_t chunk, Function f) {
  const int64_t first = chunk % w.band_groups() * w.bands_each;
  const int64_t group = chunk / w.band_groups() % w.groups;
  const int64_t batch = chunk / w.band_groups() / w.groups;
  for (int64_t band = first; band < least(first + w.bands_each, w.bands); ++band)
    f(batch, group, band, band == first);
}

struct MatMulScratch {
  Unit* a;          // of all workers, as MatMulWork says
  float* a_scales;  // [matrix][run][row]
  float* inverse;   // this worker's: one for each row of a band
  Unit* b;          // this worker's of b: [kept depth][panel][unit][width * 16]
  float* b_scales;  // [kept run][lane of the group]
  float* sums;      // [panel][row][width * 16]
  int64_t bytes;

  MatMulScratch(const MatMulWork& w, std::byte* base, int worker, int threads) {
    Carver c{base};
    a = c.take<Unit>(w.a_matrices * w.bands * w.depths * w.a_block());
    a_scales = c.take<float>(w.a_matrices * w.runs * w.a_scale_rows());
    for (int i = 0; i < threads; ++i) {
      float* const inverse_here = c.take<float>(round_up(w.band, 16));
      Unit* const b_here = c.take<Unit>(w.kept_depths() * w.group_lanes() * w.depth);
      float* const scales_here = c.take<float>(w.kept_depths() * MatMulWork::kDepthRuns * w.group_lanes());
      float* const sums_here = c.take<float>(w.band * w.group_lanes());
      if (i != worker) continue;
      inverse = inverse_here;
      b = b_here;
      b_scales = scales_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

// Rows of matrices lie apart, so the hardware doesn't see what comes next: how many rows ahead a run of one
// is asked for, and a few vectors of one.
constexpr int64_t kRunsAhead = 8;
constexpr int64_t kLanesAhead = 24;

// The scales of n lanes over `count` rows, `stride` apart; filled up to a multiple of 16 lanes. Several
// vectors at a time: rows may be pages apart.
template <int V, class T>
HALFTONE_INLINE void lane_scales_of(const T* p, int64_t stride, int64_t count, int64_t n, float* scale,
                                    float* inverse) {
  I largest[V];
  for (int v = 0; v < V; ++v) largest[v] = zero_i();
  for (int64_t k = 0; k < count; ++k) {
    prefetch_row(p + (k + kLanesAhead) * stride, V * 16 * sizeof(T));
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) {
      const T* const row = p + k * stride + 16 * v;
      largest[v] = larger(largest[v], magnitude_bits(V > 1 || n >= 16 ? widen(row) : widen(row, n)));
    }
  }
  for (int v = 0; v < V; ++v) scales_of(largest[v], scale + 16 * v, inverse + 16 * v);
}
template <class T>
void lane_scales(const T* p, int64_t stride, int64_t count, int64_t n, float* scale, float* inverse) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) lane_scales_of<4>(p + i, stride, count, 64, scale + i, inverse + i);
  for (; i < n; i += 16) lane_scales_of<1>(p + i, stride, count, n - i, scale + i, inverse + i);
}

// The scales of 16 lanes that are rows of `terms` elements, `stride` apart; of the first `lanes` of them. The
// next 16 are asked for meanwhile.
template <class T>
void row_scales(const T* rows, int64_t stride, int64_t terms, int64_t lanes, float* scale, float* inverse) {
  for (int64_t l = 0; l < 16; ++l) {
    prefetch_row(rows + (l + 16) * stride, terms * sizeof(T));
    const BlockScale found =
        l < lanes ? scale_of(largest_of(rows + l * stride, terms, 1, terms)) : BlockScale{};
    scale[l] = found.scale;
    inverse[l] = found.inverse;
  }
}

// Stage 0: a band of rows of one a, a block of K.
template <class T, bool kBlock>
void matmul_pack_a(const MatMulWork& w, const ProductOperands& x, const MatMulScratch& s, int64_t chunk) {
  const MatMulGeometry& g = w.g;
  const int64_t depth = chunk % w.depths;
  const int64_t m0 = chunk / w.depths % w.bands * w.band;
  const int64_t matrix = chunk / w.depths / w.bands;
  const int64_t rows = least(w.band, g.m - m0);
  const T* const a = static_cast<const T*>(x.a) + matrix * g.m * g.k;
  Unit* target = s.a + chunk * w.a_block();
  constexpr int64_t kRunTerms = kBlock ? 2 * kChunkUnits : kChunkUnits;
  const int64_t runs_end = least((depth + 1) * MatMulWork::kDepthRuns, w.runs);
  for (int64_t run = depth * MatMulWork::kDepthRuns; run < runs_end; ++run) {
    const int64_t k0 = run * kRunTerms;
    const int64_t terms = least(kRunTerms, g.k - k0);
    float* const scales = s.a_scales + (matrix * w.runs + run) * w.a_scale_rows() + m0;
    if (g.trans_a) {
      const T* const first = a + k0 * g.m + m0;
      alignas(64) float edge[16];
      if constexpr (kBlock) {
        // The last vector of rows may reach into the next band's scales.
        const int64_t whole = rows / 16 * 16;
        lane_scales(first, g.m, terms, whole, scales, s.inverse);
        if (whole < rows) {
          lane_scales(first + whole, g.m, terms, rows - whole, edge, s.inverse + whole);
          for (int64_t l = whole; l < rows; ++l) scales[l] = edge[l - whole];
        }
      }
      for (int64_t k = 0; k < terms; k += kBlock ? 2 : 1, target += w.a_step())
        pack_across<T, kBlock, false, true>(first + k * g.m,
                                            kBlock && k + 1 < terms ? first + (k + 1) * g.m : nullptr, target,
                                            rows, s.inverse);
    } else {
      for (int64_t m = 0; m < rows; ++m) {
        const T* const row = a + (m0 + m) * g.k + k0;
        BlockScale scale;
        if constexpr (kBlock) {
          prefetch_row(row + kRunsAhead * g.k, terms * sizeof(T));
          scale = scale_of(largest_of(row, terms, 1, terms));
          scales[m] = scale.scale;
        }
        pack_along<T, kBlock, false>(row, terms, target + m * w.a_row(), terms, terms, 1, scale.inverse);
      }
      target += kChunkUnits;
    }
  }
}

// What the panels [first, last) have of b in the runs [run, run_end), into packed and scales.
template <class T, bool kBlock>
void matmul_pack_b(const MatMulWork& w, const T* b, int64_t first, int64_t last, int64_t run, int64_t run_end,
                   Unit* packed, float* scales) {
  const MatMulGeometry& g = w.g;
  const int64_t first_lane = first * w.panel * 16;
  constexpr int64_t kRunTerms = kBlock ? 2 * kChunkUnits : kChunkUnits;
  alignas(64) float inverse[MatMulWork::kGroupVectors * 16];
  for (int64_t done = 0; run + done < run_end; ++done, scales += w.group_lanes()) {
    const int64_t k0 = (run + done) * kRunTerms;
    const int64_t terms = least(kRunTerms, g.k - k0);
    const auto target = [&](int64_t which) {
      return packed + (which - first) * w.panel * 16 * w.depth +
             done * kChunkUnits * w.panel_width(which) * 16;
    };
    if (g.trans_b) {
      for (int64_t which = first; which < last; ++which)
        for (int64_t v = 0; v < w.panel_width(which); ++v) {
          const int64_t lane = (which * w.panel + v) * 16;
          const int64_t columns = least(16, g.n - lane);
          const T* const rows = b + lane * g.k + k0;
          if constexpr (kBlock) row_scales(rows, g.k, terms, columns, scales + (lane - first_lane), inverse);
          pack_transposed<T, kBlock>(rows, g.k, columns, target(which) + v * 16, w.panel_width(which) * 16,
                                     terms, inverse);
        }
      continue;
    }
    const T* const source = b + k0 * g.n + first_lane;
    const int64_t columns = least(((last - first) * w.panel) * 16, g.n - first_lane);
    if constexpr (kBlock) lane_scales(source, g.n, terms, columns, scales, inverse);
    for (int64_t k = 0; k < terms; k += kBlock ? 2 : 1)
      for (int64_t which = first; which < last; ++which) {
        const int64_t lane = (which - first) * w.panel * 16;
        const int64_t step = w.panel_width(which) * 16;
        const T* const row = source + k * g.n + lane;
        pack_across<T, kBlock, false, true>(row, kBlock && k + 1 < terms ? row + g.n : nullptr,
                                            target(which) + (kBlock ? k / 2 : k) * step,
                                            least(step, columns - lane), inverse + lane);
      }
  }
}

// Between y and the sums of a band of rows and a group of columns.
template <bool kFromY>
void move_sums(const MatMulWork& w, const ProductOperands& x, const MatMulScratch& s, int64_t batch,
               int64_t group, int64_t band) {
  const int64_t first_panel = group * w.group;
  const int64_t first_row = batch * w.g.m + band * w.band;
  for (int64_t m = 0; m < least(w.band, w.g.m - band * w.band); ++m)
    for (int64_t which = first_panel; which < least(first_panel + w.group, w.panels()); ++which) {
      const int64_t lanes = w.panel_width(which) * 16;
      const int64_t lane = which * w.panel * 16;
      float* const sums = s.sums + (which - first_panel) * w.panel * 16 * w.band + m * lanes;
      float* const y = static_cast<float*>(x.y) + (first_row + m) * w.g.n + lane;
      move_sums_row<kFromY>(sums, lanes, y, least(lanes, w.g.n - lane));
    }
}

// A band of rows, a group of columns. pack: b is not there yet.
template <class T, bool kBlock>
void matmul_band(const MatMulWork& w, const ProductOperands& x, const MatMulScratch& s, int64_t batch,
                 int64_t group, int64_t band, bool pack) {
  const MatMulGeometry& g = w.g;
  const int64_t first_panel = group * w.group;
  const int64_t m0 = band * w.band;
  const int64_t rows = least(w.band, g.m - m0);
  const int64_t last_panel = least(first_panel + w.group, w.panels());
  const BatchMatrices matrix(g, batch);
  const T* const b = static_cast<const T*>(x.b) + matrix.b * g.k * g.n;
  const int64_t scale_lanes = w.group_lanes();
  if (g.sums) move_sums<true>(w, x, s, batch, group, band);
  Segment segments[MatMulWork::kDepthRuns];
  Tile t{};
  t.a_row = w.a_row();
  t.a_step = w.a_step();
  t.segments = segments;
  t.scale_a_row = 1;
  t.scale_a_flush = w.a_scale_rows();
  t.scale_b_flush = scale_lanes;
  for (int64_t depth = 0; depth < w.depths; ++depth) {
    const int64_t run = depth * MatMulWork::kDepthRuns;
    const int64_t run_end = least(run + MatMulWork::kDepthRuns, w.runs);
    t.first = depth == 0 && !g.sums;
    t.segment_count = run_end - run;
    for (int64_t i = run; i < run_end; ++i)
      segments[i - run] = {(i - run) * kChunkUnits * t.a_step,
                           static_cast<int32_t>(least(kChunkUnits, w.k_units - i * kChunkUnits)), 1};
    const Unit* const a = s.a + ((matrix.a * w.bands + band) * w.depths + depth) * w.a_block();
    const float* const a_scales = s.a_scales + (matrix.a * w.runs + run) * w.a_scale_rows() + m0;
    const int64_t kept = depth % w.kept_depths();
    Unit* const packed_b = s.b + kept * w.group_lanes() * w.depth;
    float* const b_scales = s.b_scales + kept * MatMulWork::kDepthRuns * scale_lanes;
    if (pack) matmul_pack_b<T, kBlock>(w, b, first_panel, last_panel, run, run_end, packed_b, b_scales);
    for (int64_t which = first_panel; which < last_panel; ++which) {
      const int64_t width = w.panel_width(which);
      const int64_t lanes = width * 16;
      const int64_t group_lane = (which - first_panel) * w.panel * 16;
      float* const sums = s.sums + group_lane * w.band;
      const TileFunction* const tiles =
          g.trans_a ? kTiles<kBlock, true>.of[width] : kTiles<kBlock, false>.of[width];
      const Split split(rows, max_rows(static_cast<int>(width)));
      t.b = packed_b + group_lane * w.depth;
      t.b_step = lanes;
      t.c_row = lanes;
      t.scale_b = b_scales + group_lane;
      for (int64_t tile = 0; tile < split.tiles; ++tile) {
        const int64_t m = split.begin(tile);
        t.a = a + m * t.a_row;
        t.scale_a = a_scales + m;
        t.c = sums + m * lanes;
        tiles[split.rows(tile)](t);
      }
    }
  }
  if (g.sums) return move_sums<false>(w, x, s, batch, group, band);
  // Row by row: neighbouring rows of y may be pages apart.
  T* const y = static_cast<T*>(x.y) + (batch * g.m + m0) * g.n;
  const int64_t first_lane = first_panel * w.panel * 16;
  alignas(64) float lane_memory[16 * MatMulWork::kGroupVectors];
  const float* const bias =
      bias_lanes(x.bias == nullptr ? nullptr : static_cast<const T*>(x.bias) + first_lane,
                 least(w.group_lanes(), g.n - first_lane), lane_memory);
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t which = first_panel; which < last_panel; ++which) {
      const int64_t lanes = w.panel_width(which) * 16;
      const int64_t group_lane = (which - first_panel) * w.panel * 16;
      finish_row<true>(s.sums + group_lane * w.band + m * lanes, y + m * g.n + first_lane + group_lane,
                       least(lanes, g.n - first_lane - group_lane),
                       bias == nullptr ? nullptr : bias + group_lane, splat(g.alpha));
    }
}

inline void matmul_plan(ProductPlan& plan) {
  const auto w = keep_work<MatMulWork>(plan);
  plan.stages = 2;
  plan.chunks[0] = w.a_matrices * w.bands * w.depths;
  plan.chunks[1] = w.batches * w.groups * w.band_groups();
  plan.scratch_bytes = MatMulScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T, bool kBlock>
void matmul_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  const auto w = work_of<MatMulWork>(plan);
  const MatMulScratch s(w, x.scratch, worker, plan.threads);
  if (stage == 0)
    matmul_pack_a<T, kBlock>(w, x, s, chunk);
  else
    for_bands(w, chunk, [&](int64_t batch, int64_t group, int64_t band, bool first) {
      matmul_band<T, kBlock>(w, x, s, batch, group, band, first);
    });
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
