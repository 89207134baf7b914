// The weight gradient: lanes are output channels (dy), rows of a tile are (kh, kw, c) of x, and K is pixels.
// No shifted copies of x are needed: the taps of a row read the same packed pixels at different offsets.
//
// The result is cut into blocks (some input channels, all taps, some output channels) whose fp32 sums stay in
// the second-level cache while all images pass over them, packed piece by piece; within a block the sums of a
// few tiles stay in the first-level cache while the waiting pieces pass. Packing again for every block costs
// less than fetching sums, or packed pixels, from further away.
//
// Stages: (block, when there are several blocks of the result) find the scales; all chains of a block of the
// result, one after the other, and its store, or, when that gives too few chunks for the threads, each chain
// by itself, and a stage that adds the chains and stores.
#pragma once

#include "kern/simd/matrix_grad_weight_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// Adds a piece to the tiles [begin, end) of a panel of `width` vectors that begins at `lane` of the block.
// totals: null, or where chains are added up.
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
  const auto w = keep_work<GradWeightWork>(plan);
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
  const auto w = work_of<GradWeightWork>(plan);
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
