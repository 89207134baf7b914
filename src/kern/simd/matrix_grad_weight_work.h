// What a weight gradient (matrix_grad_weight.h) is cut into, its pieces and its scratch.
//
// block: a unit of K is two output pixels of a chunk, and sums are exact, so which two is free:
//   twins the same pixel of two images, where a chunk holds several small ones: rows of 7 needn't be filled
//   up to 8 halves pixel k of a row and the one half a row further, where a chunk holds whole rows. An odd
//   row's last pixel is paired with 0.
//   else   neighbours: for rows longer than a chunk, and for `half`, where pairs are part of the meaning
// Taps of neighbours need a unit of x for every pixel, of twins and halves for every other one.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// The shape of the work: a function of the product and the number of threads (which changes no bit).
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

  // Several images in a block are one chunk, however they are paired; it pays unless too many are left alone.
  // The pairs of `half` are part of its meaning.
  bool twins_pay() const {
    if (!block || kHalf || chain_images == 1) return false;
    const int64_t in_pairs = g.n / chain_images * ceil_div(chain_images, 2) + ceil_div(g.n % chain_images, 2);
    return in_pairs * g.ow <= g.n * ceil_div(g.ow, 2);
  }
  // Output pixels of a row in a unit; from the first of one unit to that of the next; from the first to the
  // second.
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
  // Packed columns of x that k units meet. The last pair's second pixel may lie beyond the row: it meets a
  // zero of dy.
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

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
