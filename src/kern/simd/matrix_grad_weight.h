// The weight gradient: lanes are output channels (dy), rows of a tile are (kh, kw, c) of x, and K is pixels. Because neighbouring rows of a tile are
// neighbours in memory (channels, then columns), three input channels fill tiles as well as 64 do, and no shifted copies of x are needed.
//
// block: the unit of x at element e of a row is the pair (x[e], x[e + sw * channels]): the same channel at two neighbouring output pixels.
// Stages: one chain of images after the other (a chunk: one chain, and some of the tiles); add the chains and store.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct GradWeightWork {
  ConvGeometry g;
  bool depthwise, block;
  int64_t groups, in, out;  // groups; channels of a group
  int64_t chain_images;     // chains consist of so many images each time
  int64_t block_images;     // images packed together
  int64_t chunk_rows, chains, blocks;
  int64_t vectors, panel, lanes;  // lanes: vectors * 16
  int64_t rows;                   // of the result: kh * kw * in (depthwise: kh * kw)
  int64_t run, runs;              // neighbours in memory: (kw, c) when columns aren't dilated, else c
  int64_t k_row;                  // units of K in a row of pixels
  bool compact;            // one kernel column: packed x holds the pixels that meet an output, and no others
  int64_t x_step;          // in units, from one K to the next
  int64_t piece_rows;      // rows of dy packed at a time, of each of the block's images
  int64_t x_rows, x_cols;  // of packed x
  int64_t piece_segments;
  int64_t batch;  // pieces packed before the tiles pass over them
  int64_t parts;  // a chain's tiles are divided among so many chunks

  GradWeightWork(const Product& p, int threads)
      : g(p.conv),
        depthwise(g.group > 1 && g.group == g.c && g.group == g.o),
        block(p.multiply == Multiply::kBlock),
        groups(depthwise ? 1 : g.group),
        in(g.c / groups),
        out(g.o / groups),
        chain_images(p.block_images),
        block_images(block ? p.block_images : 1),
        chunk_rows(p.chunk_rows),
        chains(p.image_groups),
        blocks(ceil_div(g.n, p.block_images)) {
    vectors = ceil_div(out, 16);
    lanes = vectors * 16;
    rows = g.kh * g.kw * (depthwise ? 1 : in);
    run = g.dw == 1 ? g.kw * in : in;
    runs = g.dw == 1 ? g.kh : g.kh * g.kw;
    panel = panel_vectors(vectors, run);
    k_row = block ? (g.ow + 1) / 2 : g.ow;
    compact = g.kw == 1;
    x_step = compact ? in : (block ? 2 : 1) * g.sw * in;
    // The last pair's second pixel may lie beyond the row: it meets a zero of dy.
    x_cols = compact ? k_row : ((block ? 2 * k_row : g.ow) - 1) * g.sw + (g.kw - 1) * g.dw + 1;
    constexpr int64_t kPieceUnits = (128 << 10) / 4;
    const int64_t reach = (g.kh - 1) * g.dh + 1;
    const int64_t fit = most(kPieceUnits / (x_cols * in), reach);
    int64_t fitting = least((fit - reach) / g.sh + 1, g.oh);
    // A chunk must not be cut.
    if (block && chunk_rows > 0) fitting = most(fitting / chunk_rows, 1) * chunk_rows;
    piece_rows = block_images > 1 ? g.oh : least(fitting, g.oh);
    x_rows = (piece_rows - 1) * g.sh + reach;
    piece_segments = block_images * piece_rows * ceil_div(k_row, kChunkUnits);
    const int64_t piece_units = block_images * (x_rows * x_cols * in + piece_rows * k_row * lanes);
    batch = least(most((1536 << 10) / 4 / piece_units, 1), kMostPieces);
    const int64_t tiles = panels() * tiles_in_panel(panel);
    parts = depthwise ? 1 : least(ceil_div(2 * threads, chains), tiles);
    if (threads == 1) parts = 1;
  }
  static constexpr int64_t kMostPieces = 64;
  int64_t panels() const { return ceil_div(vectors, panel); }
  int64_t panel_width(int64_t i) const { return least(panel, vectors - i * panel); }
  int64_t tiles_in_run(int64_t width) const { return Split(run, max_rows(static_cast<int>(width))).tiles; }
  int64_t tiles_in_panel(int64_t width) const { return runs * tiles_in_run(width); }
};

// Packed x and dy of some rows of a block of images.
struct Piece {
  Unit* x;   // [image][x_rows][x_cols][in]
  Unit* dy;  // [image][row][k_row][lanes]
  int64_t segment_count;
  Segment* segments;
  float scale_x;
  alignas(64) float scale_dy[16 * kMaxVectors];  // the same in each lane
};

struct GradWeightScratch {
  float* chains;  // [chain][group][rows][lanes]
  Piece* pieces;  // this worker's
  int16_t* row;   // a quantised row of x
  int64_t bytes;

  GradWeightScratch(const GradWeightWork& w, std::byte* base, int worker, int threads) {
    Carver c{base};
    chains = c.take<float>(w.chains * w.groups * w.rows * w.lanes);
    for (int i = 0; i < threads; ++i) {
      Piece* const pieces_here = c.take<Piece>(w.batch);
      int16_t* const row_here = c.take<int16_t>((w.x_cols + w.g.sw) * w.in + 32);
      if (i == worker && base != nullptr) {
        pieces = pieces_here;
        row = row_here;
      }
      for (int64_t b = 0; b < w.batch; ++b) {
        Unit* const x = c.take<Unit>(w.block_images * w.x_rows * w.x_cols * w.in + 16);
        Unit* const dy = c.take<Unit>(w.block_images * w.piece_rows * w.k_row * w.lanes);
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

template <class T, bool kBlock>
void pack_x_row(const GradWeightWork& w, const T* x, int64_t ih, float inverse, int16_t* row, Unit* y) {
  const int64_t n = w.x_cols * w.in;
  if (ih < 0 || ih >= w.g.h) {
    zero_units(y, n);
    return;
  }
  const int64_t left = least(w.g.left, w.x_cols);
  const int64_t cols = w.x_cols + (kBlock ? w.g.sw : 0);
  const int64_t pixels = least(w.g.w, cols - left);
  const T* const source = x + ih * w.g.w * w.g.c;
  if (w.compact) {
    alignas(64) float lanes[16];
    store(lanes, splat(inverse));
    const auto pixel = [&](int64_t ow) {
      const int64_t iw = ow * w.g.sw - w.g.left;
      return ow < w.g.ow && iw >= 0 && iw < w.g.w ? source + iw * w.g.c : nullptr;
    };
    for (int64_t k = 0; k < w.k_row; ++k, y += w.in) {
      const T* const p = pixel(kBlock ? 2 * k : k);
      const T* const q = kBlock ? pixel(2 * k + 1) : nullptr;
      if (p == nullptr && q == nullptr)
        zero_units(y, w.in);
      else
        pack_across<T, kBlock, true, false>(p, q, y, w.in, lanes);
    }
    return;
  }
  if constexpr (kBlock) {
    __builtin_memset(row, 0, static_cast<size_t>(left * w.in) * 2);
    if (w.in == w.g.c) {
      quantise_run(source, row + left * w.in, pixels * w.in, splat(inverse));
    } else {
      for (int64_t q = 0; q < pixels; ++q)
        quantise_run(source + q * w.g.c, row + (left + q) * w.in, w.in, splat(inverse));
    }
    __builtin_memset(row + (left + pixels) * w.in, 0,
                     static_cast<size_t>((cols - left - pixels) * w.in + 16) * 2);
    pair_up(row, w.g.sw * w.in, y, n);
  } else {
    zero_units(y, left * w.in);
    pack_along<T, false>(source, w.g.c, y + left * w.in, w.in, w.in, pixels, 1);
    zero_units(y + (left + pixels) * w.in, (w.x_cols - left - pixels) * w.in);
  }
}

// Packs the rows [row, row_end) of dy, and what they meet of x, of the images [image, image + images).
template <class T, bool kBlock>
void pack_piece(const GradWeightWork& w, const ProductOperands& operands, const GradWeightScratch& s,
                int64_t group, int64_t image, int64_t images, int64_t row, int64_t row_end,
                BlockScale scale_x, BlockScale scale_dy, Piece& piece) {
  const ConvGeometry& g = w.g;
  const int64_t x_rows = (row_end - row - 1) * g.sh + (g.kh - 1) * g.dh + 1;
  alignas(64) float inverse[16];
  for (float& l : inverse) l = scale_dy.inverse;
  for (float& l : piece.scale_dy) l = scale_dy.scale;
  piece.scale_x = scale_x.scale;
  piece.segment_count = 0;
  int64_t rows_in_chunk = 0;
  for (int64_t i = 0; i < images; ++i) {
    const T* const x = static_cast<const T*>(operands.a) + (image + i) * g.h * g.w * g.c + group * w.in;
    const T* const dy = static_cast<const T*>(operands.b) + (image + i) * g.oh * g.ow * g.o + group * w.out;
    for (int64_t r = 0; r < x_rows; ++r)
      pack_x_row<T, kBlock>(w, x, row * g.sh - g.top + r, scale_x.inverse, s.row,
                            piece.x + (i * x_rows + r) * w.x_cols * w.in);
    for (int64_t r = row; r < row_end; ++r) {
      const T* const source = dy + r * g.ow * g.o;
      Unit* const target = piece.dy + (i * (row_end - row) + r - row) * w.k_row * w.lanes;
      for (int64_t k = 0; k < w.k_row; ++k) {
        if constexpr (kBlock)
          pack_across<T, true, true, true>(source + 2 * k * g.o,
                                           2 * k + 1 < g.ow ? source + (2 * k + 1) * g.o : nullptr,
                                           target + k * w.lanes, w.out, inverse);
        else
          pack_across<T, false, true, true>(source + k * g.o, nullptr, target + k * w.lanes, w.out, inverse);
      }
      const int64_t offset = (i * x_rows + (r - row) * g.sh) * w.x_cols * w.in;
      const bool row_ends_chunk = ++rows_in_chunk == w.chunk_rows || (i + 1 == images && r + 1 == row_end);
      for (int64_t k = 0; k < w.k_row; k += kChunkUnits) {
        const int64_t length = least(kChunkUnits, w.k_row - k);
        const bool flush = w.chunk_rows == 0 || (row_ends_chunk && k + length == w.k_row);
        piece.segments[piece.segment_count++] = {offset + k * w.x_step, static_cast<int32_t>(length),
                                                 flush ? 1 : 0};
      }
      if (row_ends_chunk) rows_in_chunk = 0;
    }
  }
}

// Adds a piece to the tiles [begin, end) of panel `which`.
template <bool kBlock>
void multiply_piece(const GradWeightWork& w, const Piece& piece, int64_t which, int64_t begin, int64_t end,
                    bool first, float* chain) {
  const int64_t width = w.panel_width(which);
  const TileFunction* const tiles = kTiles<kBlock, true>.of[width];
  const Split split(w.run, max_rows(static_cast<int>(width)));
  const int64_t cached = most(kChunkUnits, (16 << 10) / 4 / (width * 16));
  Tile t{};
  t.a_row = 1;
  t.a_step = w.x_step;
  t.b = piece.dy + which * w.panel * 16;
  t.b_step = w.lanes;
  t.c_row = w.lanes;
  t.first = first;
  t.scale_a = &piece.scale_x;
  t.scale_b = piece.scale_dy;
  for (int64_t segment = 0; segment < piece.segment_count;) {
    int64_t last = segment;
    int64_t units = 0;
    while (last < piece.segment_count && (units < cached || (kBlock && piece.segments[last - 1].flush == 0)))
      units += piece.segments[last++].length;
    t.segments = piece.segments + segment;
    t.segment_count = last - segment;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t r = tile / split.tiles;
      const int64_t j = split.begin(tile % split.tiles);
      const int64_t kh = w.g.dw == 1 ? r : r / w.g.kw;
      const int64_t kw = w.g.dw == 1 ? 0 : r % w.g.kw;
      t.a = piece.x + (kh * w.g.dh * w.x_cols + kw * w.g.dw) * w.in + j;
      t.c = chain + (r * w.run + j) * w.lanes + which * w.panel * 16;
      tiles[split.rows(tile % split.tiles)](t);
    }
    t.b += units * w.lanes;
    t.first = false;
    segment = last;
  }
}

// Depthwise: up to kTaps taps of 16 channels, chains over the pixels of a piece.
template <int N>
void depthwise_taps(const GradWeightWork& w, const Piece& piece, const int64_t* offsets, int64_t vector,
                    bool first, float* chain) {
  F acc[N];
  for (int t = 0; t < N; ++t) acc[t] = first ? zero_f() : load(chain + t * w.lanes);
  const float* dy = reinterpret_cast<const float*>(piece.dy) + vector * 16;
  for (int64_t i = 0; i < piece.segment_count; ++i) {
    const float* x = reinterpret_cast<const float*>(piece.x) + piece.segments[i].offset + vector * 16;
    for (int64_t k = 0; k < piece.segments[i].length; ++k, x += w.x_step, dy += w.lanes) {
      const F d = load(dy);
      HALFTONE_UNROLL
      for (int t = 0; t < N; ++t) acc[t] = fma(load(x + offsets[t]), d, acc[t]);
    }
  }
  for (int t = 0; t < N; ++t) store(chain + t * w.lanes, acc[t]);
}
inline void depthwise_piece(const GradWeightWork& w, const Piece& piece, bool first, float* chain) {
  const int64_t taps = w.g.kh * w.g.kw;
  for (int64_t vector = 0; vector < w.vectors; ++vector)
    for (int64_t tap = 0; tap < taps;) {
      int64_t offsets[9];
      const int64_t n = taps - tap >= 9 ? 9 : taps - tap >= 3 ? 3 : 1;
      for (int64_t t = 0; t < n; ++t)
        offsets[t] = ((tap + t) / w.g.kw * w.g.dh * w.x_cols + (tap + t) % w.g.kw * w.g.dw) * w.in;
      float* const c = chain + tap * w.lanes + vector * 16;
      if (n == 9)
        depthwise_taps<9>(w, piece, offsets, vector, first, c);
      else if (n == 3)
        depthwise_taps<3>(w, piece, offsets, vector, first, c);
      else
        depthwise_taps<1>(w, piece, offsets, vector, first, c);
      tap += n;
    }
}

// Stage 0: one part of the tiles of one chain.
template <class T, bool kBlock>
void grad_weight_chain(const GradWeightWork& w, const ProductOperands& operands, const GradWeightScratch& s,
                       int64_t chunk) {
  const int64_t chain = chunk / w.parts;
  const int64_t part = chunk % w.parts;
  const ConvGeometry& g = w.g;
  for (int64_t group = 0; group < w.groups; ++group) {
    float* const sums = s.chains + (chain * w.groups + group) * w.rows * w.lanes;
    // All pieces of the chain, `batch` at a time.
    int64_t waiting = 0;
    bool first = true;
    const auto multiply_waiting = [&] {
      // Tiles are numbered panel by panel; panels differ in width, so each is divided by itself.
      for (int64_t which = 0; which < w.panels() && !w.depthwise; ++which) {
        const int64_t tiles = w.tiles_in_panel(w.panel_width(which));
        const int64_t begin = part * tiles / w.parts;
        const int64_t end = (part + 1) * tiles / w.parts;
        // All pieces pass over a few tiles, whose sums stay near, before the next few.
        constexpr int64_t kTogether = 16;
        for (int64_t tile = begin; tile < end; tile += kTogether)
          for (int64_t i = 0; i < waiting; ++i)
            multiply_piece<kBlock>(w, s.pieces[i], which, tile, least(tile + kTogether, end), first && i == 0,
                                   sums);
      }
      for (int64_t i = 0; i < waiting && w.depthwise; ++i)
        depthwise_piece(w, s.pieces[i], first && i == 0, sums);
      first = false;
      waiting = 0;
    };
    const int64_t block_end = (chain + 1) * w.blocks / w.chains;
    for (int64_t b = chain * w.blocks / w.chains; b < block_end; ++b) {
      // Blocks are the meaning's; without block scales their images are taken one by one.
      const int64_t images_end = least((b + 1) * w.chain_images, g.n);
      for (int64_t image = b * w.chain_images; image < images_end; image += w.block_images) {
        const int64_t images = least(w.block_images, images_end - image);
        BlockScale scale_x;
        BlockScale scale_dy;
        if constexpr (kBlock) {
          scale_x =
              scale_of(largest_of(static_cast<const T*>(operands.a) + image * g.h * g.w * g.c + group * w.in,
                                  w.in, images * g.h * g.w, g.c));
          scale_dy = scale_of(
              largest_of(static_cast<const T*>(operands.b) + image * g.oh * g.ow * g.o + group * w.out, w.out,
                         images * g.oh * g.ow, g.o));
        }
        for (int64_t row = 0; row < g.oh; row += w.piece_rows) {
          pack_piece<T, kBlock>(w, operands, s, group, image, images, row, least(row + w.piece_rows, g.oh),
                                scale_x, scale_dy, s.pieces[waiting]);
          if (++waiting == w.batch) multiply_waiting();
        }
      }
    }
    if (waiting > 0) multiply_waiting();
  }
}

// Stage 1: 16 output channels of a group, from all chains.
template <class T>
void grad_weight_store(const GradWeightWork& w, const ProductOperands& operands, const GradWeightScratch& s,
                       int64_t chunk) {
  const int64_t group = chunk / w.vectors;
  const int64_t vector = chunk % w.vectors;
  const int64_t channels = least(16, w.out - vector * 16);
  const int64_t between = w.groups * w.rows * w.lanes;
  const float* const sums = s.chains + group * w.rows * w.lanes + vector * 16;
  T* const y = static_cast<T*>(operands.y) + (group * w.out + vector * 16) * w.rows;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t r = 0; r < w.rows; r += 16) {
    const int64_t n = least(16, w.rows - r);
    for (int64_t i = 0; i < n; ++i) {
      F sum = load(sums + (r + i) * w.lanes);
      for (int64_t q = 1; q < w.chains; ++q) sum = add(sum, load(sums + q * between + (r + i) * w.lanes));
      store(reinterpret_cast<float*>(in + 16 * i), sum);
    }
    transpose(in, out, 16);
    for (int64_t l = 0; l < channels; ++l) {
      const F row = load(reinterpret_cast<const float*>(out + 16 * l));
      if (n == 16)
        narrow(y + l * w.rows + r, row);
      else
        narrow(y + l * w.rows + r, row, n);
    }
  }
}

inline void grad_weight_plan(ProductPlan& plan) {
  const GradWeightWork w(plan.product, plan.threads);
  plan.stages = 2;
  plan.chunks[0] = w.chains * w.parts;
  plan.chunks[1] = w.groups * w.vectors;
  plan.scratch_bytes = GradWeightScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T, bool kBlock>
void grad_weight_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
                     int worker) {
  const GradWeightWork w(plan.product, plan.threads);
  const GradWeightScratch s(w, x.scratch, worker, plan.threads);
  if (stage == 0)
    grad_weight_chain<T, kBlock>(w, x, s, chunk);
  else
    grad_weight_store<T>(w, x, s, chunk);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
