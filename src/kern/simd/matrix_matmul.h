// Matrix products: lanes are columns of y, rows of a tile are rows of y.
// Stages: pack b; for each band of rows (and some of the panels of columns) pack a and multiply.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct MatMulWork {
  MatMulGeometry g;
  bool block;
  int64_t batches, b_matrices;
  int64_t k_units, runs;  // runs: of 64 units
  int64_t vectors, panel, lanes;
  int64_t band, bands;   // rows
  int64_t panel_groups;  // the panels are divided among so many chunks

  MatMulWork(const Product& p, int threads)
      : g(p.matmul), block(p.multiply == Multiply::kBlock), batches(1), b_matrices(1) {
    for (int d = 0; d < g.batch_rank; ++d) {
      batches *= g.batch[d];
      b_matrices += (g.batch[d] - 1) * g.b_stride[d];
    }
    k_units = block ? (g.k + 1) / 2 : g.k;
    runs = ceil_div(k_units, kChunkUnits);
    vectors = ceil_div(g.n, 16);
    lanes = vectors * 16;
    constexpr int64_t kBandUnits = (384 << 10) / 4;
    band = least(g.m, most(least(kBandUnits / k_units, 192), 12));
    panel = panel_vectors(vectors, band);
    if (threads > 1 && batches * ceil_div(g.m, band) * panels() < 4 * threads)
      band = most(least(band, max_rows(static_cast<int>(panel))),
                  ceil_div(g.m, ceil_div(4 * threads, batches * panels())));
    band = ceil_div(g.m, ceil_div(g.m, band));
    bands = ceil_div(g.m, band);
    panel_groups = threads == 1 ? 1 : least(panels(), ceil_div(4 * threads, batches * bands));
  }
  int64_t panels() const { return ceil_div(vectors, panel); }
  int64_t panel_width(int64_t i) const { return least(panel, vectors - i * panel); }
};

struct MatMulScratch {
  Unit* b;          // [matrix][panel][k][width * 16]
  float* b_scales;  // [matrix][run][lanes]
  Unit* a;          // this worker's band: [row][k], or with trans_a [k][row]
  float* a_scales;  // [row][run], or with trans_a [run][row]
  float* inverse;   // one for each row
  float* sums;      // [row][panel * 16]
  Segment* segments;
  int64_t a_rows;  // a multiple of 16
  int64_t bytes;

  MatMulScratch(const MatMulWork& w, std::byte* base, int worker, int threads)
      : a_rows(round_up(w.band, 16)) {
    Carver c{base};
    b = c.take<Unit>(w.b_matrices * w.k_units * w.lanes);
    b_scales = c.take<float>(w.b_matrices * w.runs * w.lanes);
    for (int i = 0; i < threads; ++i) {
      Unit* const a_here = c.take<Unit>(a_rows * w.k_units);
      float* const scales_here = c.take<float>(a_rows * w.runs);
      float* const inverse_here = c.take<float>(a_rows);
      float* const sums_here = c.take<float>(w.band * w.panel * 16);
      Segment* const segments_here = c.take<Segment>(w.runs);
      if (i != worker) continue;
      a = a_here;
      a_scales = scales_here;
      inverse = inverse_here;
      sums = sums_here;
      segments = segments_here;
    }
    bytes = c.used;
  }
};

// The scales of n lanes over `count` rows, `stride` apart; filled up to a multiple of 16 lanes.
template <class T>
void lane_scales(const T* p, int64_t stride, int64_t count, int64_t n, float* scale, float* inverse) {
  for (int64_t i = 0; i < n; i += 16) {
    I largest = zero_i();
    for (int64_t k = 0; k < count; ++k) {
      const T* const row = p + k * stride + i;
      largest = larger(largest, magnitude_bits(i + 16 <= n ? widen(row) : widen(row, n - i)));
    }
    scales_of(largest, scale + i, inverse + i);
  }
}

// Stage 0: 16 columns of one b.
template <class T, bool kBlock>
void matmul_pack_b(const MatMulWork& w, const ProductOperands& x, const MatMulScratch& s, int64_t chunk) {
  const MatMulGeometry& g = w.g;
  const int64_t matrix = chunk / w.vectors;
  const int64_t vector = chunk % w.vectors;
  const int64_t which = vector / w.panel;
  const int64_t step = w.panel_width(which) * 16;
  const int64_t columns = least(16, g.n - vector * 16);
  const T* const b = static_cast<const T*>(x.b) + matrix * g.k * g.n;
  Unit* target =
      s.b + matrix * w.k_units * w.lanes + which * w.panel * 16 * w.k_units + vector % w.panel * 16;
  alignas(64) float inverse[16];
  const int64_t run_terms = kBlock ? 2 * kChunkUnits : kChunkUnits;
  for (int64_t run = 0; run < w.runs; ++run) {
    const int64_t k0 = run * run_terms;
    const int64_t terms = least(run_terms, g.k - k0);
    float* const scale = s.b_scales + (matrix * w.runs + run) * w.lanes + vector * 16;
    if (g.trans_b) {
      const T* const first = b + vector * 16 * g.k + k0;
      for (int64_t l = 0; l < 16; ++l) {
        const BlockScale found =
            kBlock && l < columns ? scale_of(largest_of(first + l * g.k, terms, 1, terms)) : BlockScale{};
        scale[l] = found.scale;
        inverse[l] = found.inverse;
      }
      pack_transposed<T, kBlock>(first, g.k, columns, target, step, terms, inverse);
    } else {
      const T* const first = b + k0 * g.n + vector * 16;
      if constexpr (kBlock) lane_scales(first, g.n, terms, columns, scale, inverse);
      for (int64_t k = 0; k < terms; k += kBlock ? 2 : 1)
        pack_across<T, kBlock, true, true>(first + k * g.n,
                                           kBlock && k + 1 < terms ? first + (k + 1) * g.n : nullptr,
                                           target + (kBlock ? k / 2 : k) * step, columns, inverse);
    }
    target += kChunkUnits * step;
  }
}

template <class T, bool kBlock>
void matmul_pack_a(const MatMulWork& w, const MatMulScratch& s, const T* a, int64_t m0, int64_t rows) {
  const MatMulGeometry& g = w.g;
  const int64_t run_terms = kBlock ? 2 * kChunkUnits : kChunkUnits;
  for (int64_t run = 0; run < w.runs; ++run) {
    const int64_t k0 = run * run_terms;
    const int64_t terms = least(run_terms, g.k - k0);
    if (g.trans_a) {
      const T* const first = a + k0 * g.m + m0;
      Unit* target = s.a + run * kChunkUnits * s.a_rows;
      if constexpr (kBlock) lane_scales(first, g.m, terms, rows, s.a_scales + run * s.a_rows, s.inverse);
      for (int64_t k = 0; k < terms; k += kBlock ? 2 : 1, target += s.a_rows)
        pack_across<T, kBlock, false, true>(first + k * g.m,
                                            kBlock && k + 1 < terms ? first + (k + 1) * g.m : nullptr, target,
                                            rows, s.inverse);
    } else {
      for (int64_t m = 0; m < rows; ++m) {
        const T* const row = a + (m0 + m) * g.k + k0;
        BlockScale scale;
        if constexpr (kBlock) {
          scale = scale_of(largest_of(row, terms, 1, terms));
          s.a_scales[m * w.runs + run] = scale.scale;
        }
        pack_along<T, kBlock>(row, terms, s.a + m * w.k_units + run * kChunkUnits, terms, terms, 1,
                              scale.inverse);
      }
    }
  }
}

// Stage 1: a band of rows, and a group of the panels.
template <class T, bool kBlock>
void matmul_band(const MatMulWork& w, const ProductOperands& x, const MatMulScratch& s, int64_t chunk) {
  const MatMulGeometry& g = w.g;
  const int64_t panel_group = chunk % w.panel_groups;
  const int64_t m0 = chunk / w.panel_groups % w.bands * w.band;
  const int64_t batch = chunk / w.panel_groups / w.bands;
  const int64_t rows = least(w.band, g.m - m0);
  int64_t a_matrix = 0;
  int64_t b_matrix = 0;
  for (int64_t d = g.batch_rank - 1, rest = batch; d >= 0; --d) {
    a_matrix += rest % g.batch[d] * g.a_stride[d];
    b_matrix += rest % g.batch[d] * g.b_stride[d];
    rest /= g.batch[d];
  }
  matmul_pack_a<T, kBlock>(w, s, static_cast<const T*>(x.a) + a_matrix * g.m * g.k, m0, rows);
  const int64_t a_step = g.trans_a ? s.a_rows : 1;
  for (int64_t run = 0; run < w.runs; ++run)
    s.segments[run] = {run * kChunkUnits * a_step,
                       static_cast<int32_t>(least(kChunkUnits, w.k_units - run * kChunkUnits)), 1};
  T* const y = static_cast<T*>(x.y) + (batch * g.m + m0) * g.n;
  const int64_t panels_end = (panel_group + 1) * w.panels() / w.panel_groups;
  for (int64_t which = panel_group * w.panels() / w.panel_groups; which < panels_end; ++which) {
    const int64_t width = w.panel_width(which);
    const int64_t lanes = width * 16;
    const int64_t first_lane = which * w.panel * 16;
    const int64_t columns = least(lanes, g.n - first_lane);
    const TileFunction* const tiles =
        g.trans_a ? kTiles<kBlock, true>.of[width] : kTiles<kBlock, false>.of[width];
    const Split split(rows, max_rows(static_cast<int>(width)));
    alignas(64) float bias_lanes[16 * kMaxVectors];
    if (x.bias != nullptr)
      for (int64_t l = 0; l < columns; l += 16) {
        const T* const bias = static_cast<const T*>(x.bias) + first_lane + l;
        store(bias_lanes + l, l + 16 <= columns ? widen(bias) : widen(bias, columns - l));
      }
    const int64_t runs_cached = most(1, (16 << 10) / 4 / lanes / kChunkUnits);
    Tile t{};
    t.a_row = g.trans_a ? 1 : w.k_units;
    t.a_step = a_step;
    t.b_step = lanes;
    t.c_row = lanes;
    t.scale_a_row = g.trans_a ? 1 : w.runs;
    t.scale_a_flush = g.trans_a ? s.a_rows : 1;
    t.scale_b_flush = w.lanes;
    for (int64_t run = 0; run < w.runs; run += runs_cached) {
      t.first = run == 0;
      t.segments = s.segments + run;
      t.segment_count = least(runs_cached, w.runs - run);
      t.b = s.b + b_matrix * w.k_units * w.lanes + first_lane * w.k_units + run * kChunkUnits * lanes;
      t.scale_b = s.b_scales + (b_matrix * w.runs + run) * w.lanes + first_lane;
      for (int64_t tile = 0; tile < split.tiles; ++tile) {
        const int64_t m = split.begin(tile);
        t.a = s.a + m * t.a_row;
        t.scale_a = s.a_scales + m * t.scale_a_row + run * t.scale_a_flush;
        t.c = s.sums + m * lanes;
        tiles[split.rows(tile)](t);
      }
    }
    for (int64_t m = 0; m < rows; ++m)
      finish_row<true>(s.sums + m * lanes, y + m * g.n + first_lane, columns,
                       x.bias == nullptr ? nullptr : bias_lanes, splat(g.alpha));
  }
}

inline void matmul_plan(ProductPlan& plan) {
  const MatMulWork w(plan.product, plan.threads);
  plan.stages = 2;
  plan.chunks[0] = w.b_matrices * w.vectors;
  plan.chunks[1] = w.batches * w.bands * w.panel_groups;
  plan.scratch_bytes = MatMulScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T, bool kBlock>
void matmul_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  const MatMulWork w(plan.product, plan.threads);
  const MatMulScratch s(w, x.scratch, worker, plan.threads);
  if (stage == 0)
    matmul_pack_b<T, kBlock>(w, x, s, chunk);
  else
    matmul_band<T, kBlock>(w, x, s, chunk);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
