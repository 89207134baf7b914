// Matrix products on tiles: rows of a tile are rows of y, lanes its columns. A run of 128 of k is a chunk, of
// two steps.
//
// Stages are those of matrix_matmul.h: pack a; then a chunk takes a group of columns and a band of rows and
// walks along K, kDepthRuns runs at a time: packs what the group has of b there, and passes the band's part
// of a over it. The three (packed b, packed a, the fp32 sums) fit the second-level cache together whatever
// the sizes of the matrices. Where it can hold b along all of K, a chunk takes several bands, and b is packed
// once for them.
#pragma once

#include "kern/amx/planes.h"
#include "kern/simd/matrix_matmul.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct TileMatMulWork {
  static constexpr int64_t kRun = 2 * kTileK;
  static constexpr int64_t kRunSteps = 2;
  static constexpr int64_t kDepthRuns = 4;
  static constexpr int64_t kBand = 256;
  static constexpr int64_t kGroupVectors = 16;
  static constexpr int64_t kVectorBytes = kDepthRuns * kRunSteps * kRightBytes;  // of b in kDepthRuns runs
  static constexpr int64_t kKeptBytes = 512 << 10;                               // of b

  MatMulGeometry g;
  int64_t batches, a_matrices;
  int64_t runs;
  int64_t vectors;
  int64_t band, bands;    // rows
  int64_t group, groups;  // vectors
  int64_t height, tiles;  // of a band: the rows of a tile, and how many
  int64_t bands_each;     // bands of a chunk

  TileMatMulWork(const Product& p, int threads) : g(p.matmul), batches(1), a_matrices(1) {
    for (int d = 0; d < g.batch_rank; ++d) {
      batches *= g.batch[d];
      a_matrices += (g.batch[d] - 1) * g.a_stride[d];
    }
    runs = ceil_div(g.k, kRun);
    vectors = ceil_div(g.n, 16);
    band = ceil_div(g.m, ceil_div(g.m, kBand));
    group = least(kGroupVectors, vectors);
    // Enough chunks for all workers: narrower groups first, which only read a more often, then lower bands.
    const int64_t wanted = threads == 1 ? 1 : ceil_div(4 * threads, batches);
    const int64_t first_bands = ceil_div(g.m, band);
    if (first_bands * ceil_div(vectors, group) < wanted) {
      group = most(round_up(vectors * first_bands / wanted, kMostLanes), kMostLanes);
      const int64_t all = ceil_div(vectors, group);
      if (first_bands * all < wanted) band = most(ceil_div(g.m, ceil_div(wanted, all)), least(32, g.m));
    }
    band = ceil_div(g.m, ceil_div(g.m, band));
    bands = ceil_div(g.m, band);
    groups = ceil_div(vectors, group);
    tiles = ceil_div(band, 16);
    height = ceil_div(band, tiles);
    bands_each = group * depths() * kVectorBytes <= kKeptBytes ? bands_together(bands, groups, wanted) : 1;
  }
  int64_t depths() const { return ceil_div(runs, kDepthRuns); }
  // Blocks of kDepthRuns of which b is there at once.
  int64_t kept_depths() const { return bands_each > 1 ? depths() : 1; }
  int64_t band_groups() const { return ceil_div(bands, bands_each); }
  int64_t scale_lanes() const { return round_up(group, kMostLanes) * 16; }
  // Packed a: [matrix][band][run][plane][step][row][64].
  int64_t band_rows() const { return round_up(tiles * height, 16); }
  int64_t step_bytes() const { return band_rows() * kTileK; }
  int64_t a_plane() const { return kRunSteps * step_bytes(); }
  int64_t a_run() const { return kPlanes * a_plane(); }
  // With the rows that tiles have beyond the last.
  int64_t a_scale_rows() const { return round_up(bands * band, 16) + 16; }
  int64_t panel_sums() const { return round_up(tiles, kSumTiles) * height * kMostLanes * 16; }
};

struct TileMatMulScratch {
  int8_t* a;        // of all workers, as TileMatMulWork says
  float* a_scales;  // [matrix][run][row]
  float* inverse;   // this worker's: one for each row of a band, or lane of a group
  int8_t* b;        // this worker's of b: [kept block][vector][run][step][plane][16][64]
  float* b_scales;  // [kept run][lane of the group]
  float* sums;      // [pair of vectors][row][lanes]
  int64_t bytes;

  TileMatMulScratch(const TileMatMulWork& w, std::byte* base, int worker, int threads) {
    Carver c{base};
    a = c.take<int8_t>(w.a_matrices * w.bands * w.runs * w.a_run());
    a_scales = c.take<float>(w.a_matrices * w.runs * w.a_scale_rows());
    for (int i = 0; i < threads; ++i) {
      float* const inverse_here = c.take<float>(round_up(most(w.band_rows(), w.group * 16), 32));
      int8_t* const b_here = c.take<int8_t>(w.kept_depths() * w.group * TileMatMulWork::kVectorBytes);
      float* const scales_here =
          c.take<float>(w.kept_depths() * TileMatMulWork::kDepthRuns * w.scale_lanes());
      float* const sums_here = c.take<float>(ceil_div(w.group, kMostLanes) * w.panel_sums());
      if (i != worker) continue;
      inverse = inverse_here;
      b = b_here;
      b_scales = scales_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

// Rows k of a matrix, `stride` apart, from `first` on: those of a step of which `terms` exist.
template <class T>
HALFTONE_INLINE void rows_of_step(const T* first, int64_t stride, int64_t terms, const T** rows) {
  for (int64_t i = 0; i < kTileK; ++i) rows[i] = i < terms ? first + i * stride : nullptr;
}

// Stage 0: a band of rows of one a, a run of K.
template <class T>
void tile_matmul_pack_a(const TileMatMulWork& w, const ProductOperands& x, const TileMatMulScratch& s,
                        int64_t chunk) {
  const MatMulGeometry& g = w.g;
  const int64_t run = chunk % w.runs;
  const int64_t m0 = chunk / w.runs % w.bands * w.band;
  const int64_t matrix = chunk / w.runs / w.bands;
  const int64_t rows = least(w.band, g.m - m0);
  const int64_t k0 = run * TileMatMulWork::kRun;
  const int64_t terms = least(TileMatMulWork::kRun, g.k - k0);
  const T* const a = static_cast<const T*>(x.a) + matrix * g.m * g.k;
  int8_t* const target = s.a + chunk * w.a_run();
  float* const scales = s.a_scales + (matrix * w.runs + run) * w.a_scale_rows() + m0;
  if (g.trans_a) {
    const T* const first = a + k0 * g.m + m0;
    // The last vector of rows may reach into the next band's scales.
    const int64_t whole = rows / 16 * 16;
    lane_scales(first, g.m, terms, whole, scales, s.inverse);
    if (whole < rows) {
      alignas(64) float edge[16];
      lane_scales(first + whole, g.m, terms, rows - whole, edge, s.inverse + whole);
      for (int64_t l = whole; l < rows; ++l) scales[l] = edge[l - whole];
    }
    const T* ks[kTileK];
    for (int64_t k = 0; k < terms; k += kTileK) {
      rows_of_step(first + k * g.m, g.m, terms - k, ks);
      pack_rows<false>(ks, rows, s.inverse, target + k / kTileK * w.step_bytes(), kTileK, w.a_plane());
    }
    return;
  }
  for (int64_t m = 0; m < rows; ++m) {
    const T* const row = a + (m0 + m) * g.k + k0;
    prefetch_row(row + kRunsAhead * g.k, terms * sizeof(T));
    const BlockScale scale = scale_of(largest_of(row, terms, 1, terms));
    scales[m] = scale.scale;
    // Terms that don't exist meet zeros of b.
    for (int64_t k = 0; k < terms; k += kTileK)
      quantise_planes(row + k, target + k / kTileK * w.step_bytes() + m * kTileK, w.a_plane(),
                      least(kTileK, terms - k), splat(scale.inverse));
  }
}

// What the vectors [first, last) have of b in the runs [run, run_end), into packed and run_scales.
template <class T>
void tile_matmul_pack_b(const TileMatMulWork& w, const TileMatMulScratch& s, const T* b, int64_t first,
                        int64_t last, int64_t run, int64_t run_end, int8_t* packed, float* run_scales) {
  const MatMulGeometry& g = w.g;
  constexpr int64_t kRunBytes = TileMatMulWork::kRunSteps * kRightBytes;
  for (int64_t done = 0; run + done < run_end; ++done) {
    const int64_t k0 = (run + done) * TileMatMulWork::kRun;
    const int64_t terms = least(TileMatMulWork::kRun, g.k - k0);
    float* const scales = run_scales + done * w.scale_lanes();
    const auto target = [&](int64_t v) {
      return packed + (v - first) * TileMatMulWork::kVectorBytes + done * kRunBytes;
    };
    if (g.trans_b) {
      alignas(64) float inverse[16];
      for (int64_t v = first; v < last; ++v) {
        const int64_t columns = least(16, g.n - v * 16);
        const T* const rows = b + v * 16 * g.k + k0;
        row_scales(rows, g.k, terms, columns, scales + (v - first) * 16, inverse);
        for (int64_t k = 0; k < terms; k += kTileK)
          pack_columns(rows + k, g.k, columns, least(kTileK, terms - k), inverse,
                       target(v) + k / kTileK * kRightBytes);
      }
      continue;
    }
    const T* const source = b + k0 * g.n + first * 16;
    const int64_t columns = least((last - first) * 16, g.n - first * 16);
    lane_scales(source, g.n, terms, columns, scales, s.inverse);
    const T* ks[kTileK];
    for (int64_t k = 0; k < terms; k += kTileK) {
      rows_of_step(source + k * g.n, g.n, terms - k, ks);
      for (int64_t v = first; v < last; v += 2) {
        const float* const inverse = s.inverse + (v - first) * 16;
        const int64_t step = k / kTileK * kRightBytes;
        pack_quads(ks, (v - first) * 16, g.n - v * 16, Factors<T>(load(inverse), load(inverse + 16)),
                   target(v) + step, target(v + 1) + step, kTileBytes);
      }
    }
  }
}

// What follows a chunk: it is added to c.
template <int M, int V>
struct MatMulCarry {
  float* c[M];
  const float* scale_a[M];  // of the tile's rows
  const float* scale_b;
  bool first;  // c is still zero, and not in memory

  HALFTONE_INLINE void rows(const int32_t* sums, int m, int begin, int end) const {
    F scale[V];
    for (int v = 0; v < V; ++v) scale[v] = load(scale_b + 16 * v);
    // Copies: what is stored might be these.
    float* const sum = c[m];
    const float* const row_scales = scale_a[m];
    const bool from_zero = first;
    for (int i = begin; i < end; ++i) {
      const F row = splat(row_scales[i]);
      for (int v = 0; v < V; ++v) {
        float* const to = sum + (i * V + v) * 16;
        store(to, fma(chunk_sum(sums + v * kSumInts + 16 * i), mul(row, scale[v]),
                      from_zero ? zero_f() : load(to)));
      }
    }
  }
};

// A run of V vectors, all rows of the band.
template <int V>
void tile_matmul_run(const TileMatMulWork& w, const int8_t* a, const float* a_scales, const int8_t* b,
                     const float* b_scales, const TileStep* steps, int64_t step_count, bool first,
                     float* sums) {
  constexpr int M = kSumTiles / V;
  using Carry = MatMulCarry<M, V>;
  Carry common{};
  common.scale_b = b_scales;
  common.first = first;
  Pipe<M, V, Carry> pipe(static_cast<int>(w.height), common);
  Strip<M> t{};
  t.a_row = kTileK;
  t.a_plane = w.a_plane();
  t.steps = steps;
  t.step_count = step_count;
  t.b = b;
  t.b_vector = TileMatMulWork::kVectorBytes;
  for (int64_t tile = 0; tile < w.tiles; tile += M) {
    const auto row = [&](int64_t m) { return least(tile + m, w.tiles - 1) * w.height; };
    for (int64_t m = 0; m < M; ++m) t.a[m] = a + row(m) * kTileK;
    pipe.run(t, [&](Carry& carry) {
      for (int64_t m = 0; m < M; ++m) {
        carry.c[m] = sums + (tile + m) * w.height * V * 16;
        carry.scale_a[m] = a_scales + row(m);
      }
    });
  }
  pipe.drain();
}

// Between y and the sums of a band of rows and a group of columns.
template <bool kFromY>
void tile_move_sums(const TileMatMulWork& w, const ProductOperands& x, const TileMatMulScratch& s,
                    int64_t batch, int64_t group, int64_t band) {
  const int64_t first = group * w.group;
  const int64_t last = least(first + w.group, w.vectors);
  const int64_t first_row = batch * w.g.m + band * w.band;
  for (int64_t m = 0; m < least(w.band, w.g.m - band * w.band); ++m)
    for (int64_t v = first; v < last; v += kMostLanes) {
      const int64_t lanes = least(kMostLanes, last - v) * 16;
      float* const sums = s.sums + (v - first) / kMostLanes * w.panel_sums() + m * lanes;
      float* const y = static_cast<float*>(x.y) + (first_row + m) * w.g.n + v * 16;
      move_sums_row<kFromY>(sums, lanes, y, least(lanes, w.g.n - v * 16));
    }
}

// A band of rows, a group of columns. pack: b is not there yet.
template <class T>
void tile_matmul_band(const TileMatMulWork& w, const ProductOperands& x, const TileMatMulScratch& s,
                      int64_t batch, int64_t group, int64_t band, bool pack) {
  const MatMulGeometry& g = w.g;
  const int64_t first = group * w.group;
  const int64_t m0 = band * w.band;
  const int64_t rows = least(w.band, g.m - m0);
  const int64_t last = least(first + w.group, w.vectors);
  const BatchMatrices matrix(g, batch);
  const T* const b = static_cast<const T*>(x.b) + matrix.b * g.k * g.n;
  if (g.sums) tile_move_sums<true>(w, x, s, batch, group, band);
  for (int64_t depth = 0; depth < w.runs; depth += TileMatMulWork::kDepthRuns) {
    const int64_t depth_end = least(depth + TileMatMulWork::kDepthRuns, w.runs);
    const int64_t kept = depth / TileMatMulWork::kDepthRuns % w.kept_depths();
    int8_t* const packed_b = s.b + kept * w.group * TileMatMulWork::kVectorBytes;
    float* const kept_scales = s.b_scales + kept * TileMatMulWork::kDepthRuns * w.scale_lanes();
    if (pack) tile_matmul_pack_b(w, s, b, first, last, depth, depth_end, packed_b, kept_scales);
    for (int64_t run = depth; run < depth_end; ++run) {
      const int64_t terms = least(TileMatMulWork::kRun, g.k - run * TileMatMulWork::kRun);
      TileStep steps[TileMatMulWork::kRunSteps];
      int64_t count = 0;
      for (int64_t k = 0; k < terms; k += kTileK, ++count)
        steps[count] = {static_cast<int32_t>(count * w.step_bytes()), k + kTileK >= terms ? 1 : 0};
      count_steps_left(steps, count);
      const int8_t* const a = s.a + ((matrix.a * w.bands + band) * w.runs + run) * w.a_run();
      const float* const a_scales = s.a_scales + (matrix.a * w.runs + run) * w.a_scale_rows() + m0;
      for (int64_t v = first; v < last; v += kMostLanes) {
        const int8_t* const right = packed_b + (v - first) * TileMatMulWork::kVectorBytes +
                                    (run - depth) * TileMatMulWork::kRunSteps * kRightBytes;
        const float* const b_scales = kept_scales + (run - depth) * w.scale_lanes() + (v - first) * 16;
        float* const sums = s.sums + (v - first) / kMostLanes * w.panel_sums();
        const bool from_zero = run == 0 && !g.sums;
        if (last - v >= kMostLanes)
          tile_matmul_run<2>(w, a, a_scales, right, b_scales, steps, count, from_zero, sums);
        else
          tile_matmul_run<1>(w, a, a_scales, right, b_scales, steps, count, from_zero, sums);
      }
    }
  }
  if (g.sums) return tile_move_sums<false>(w, x, s, batch, group, band);
  // Row by row: pieces of neighbouring rows of y may be pages apart.
  alignas(64) float lane_memory[16 * TileMatMulWork::kGroupVectors];
  const float* const bias =
      bias_lanes(x.bias == nullptr ? nullptr : static_cast<const T*>(x.bias) + first * 16,
                 least((last - first) * 16, g.n - first * 16), lane_memory);
  T* const y = static_cast<T*>(x.y) + (batch * g.m + m0) * g.n;
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t v = first; v < last; v += kMostLanes) {
      const int64_t lanes = least(kMostLanes, last - v) * 16;
      finish_row<true>(s.sums + (v - first) / kMostLanes * w.panel_sums() + m * lanes, y + m * g.n + v * 16,
                       least(lanes, g.n - v * 16), bias == nullptr ? nullptr : bias + (v - first) * 16,
                       splat(g.alpha));
    }
}

inline void tile_matmul_plan(ProductPlan& plan) {
  const auto w = keep_work<TileMatMulWork>(plan);
  plan.stages = 2;
  plan.chunks[0] = w.a_matrices * w.bands * w.runs;
  plan.chunks[1] = w.batches * w.groups * w.band_groups();
  plan.scratch_bytes = TileMatMulScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T>
void tile_matmul_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
                     int worker) {
  const auto w = work_of<TileMatMulWork>(plan);
  const TileMatMulScratch s(w, x.scratch, worker, plan.threads);
  if (stage == 0)
    tile_matmul_pack_a<T>(w, x, s, chunk);
  else
    for_bands(w, chunk, [&](int64_t batch, int64_t group, int64_t band, bool first) {
      tile_matmul_band<T>(w, x, s, batch, group, band, first);
    });
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
