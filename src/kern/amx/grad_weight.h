// The weight gradient on tiles: rows of a tile are (kw, c) of x, lanes output channels (dy), K is pixels, which lie one behind the other in both operands.
//
// So x is packed by channels, each a row of pixels, once for each kernel column: shifted, with zeros where the padding was; kernel rows are offsets in it.
// With a stride, or when dy is less wide than x, each (kh, kw) is packed. The pixels of one image's rows are then one run of K, whatever the width: a chunk is a few such
// runs, each of steps of 64 of which the last may be short.
//
// The result is cut into slices of input channels whose fp32 sums stay in the second-level cache while all images pass over them.
// Stages: find the scales of a block of images and, when there are several slices, pack its dy; all chains of a slice, one after the other, and its store, or,
// when that gives too few chunks for the threads, each chain by itself, and a stage that adds the chains and stores.
#pragma once

#include "kern/amx/planes.h"
#include "kern/simd/matrix_grad_weight.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct TileGradWork {
  ConvGeometry g;
  int64_t groups, in, out;
  int64_t block_images, chunk_rows, chains, blocks;
  int64_t vectors;
  bool offsets;    // kernel rows are offsets
  bool direct;     // and pixels are packed as they lie: a 1x1 kernel
  int64_t outer;   // kernel rows that are offsets, or 1
  int64_t copies;  // of x: kernel columns, or all taps
  int64_t slice, slices;
  bool spread;
  int64_t piece_images, piece_rows;  // packed at a time
  int64_t x_rows;                    // packed rows of x of an image of a piece, each as wide as dy
  int64_t row_bytes, plane_bytes;    // of a channel, of all rows
  int64_t piece_steps, block_steps;

  TileGradWork(const Product& p, int threads)
      : g(p.conv),
        groups(g.group),
        in(g.c / groups),
        out(g.o / groups),
        block_images(p.block_images),
        chunk_rows(p.chunk_rows),
        chains(p.image_groups),
        blocks(ceil_div(g.n, p.block_images)),
        vectors(ceil_div(out, 16)),
        offsets(g.sh == 1 && g.sw == 1 && g.w == g.ow),
        direct(offsets && g.kh == 1 && g.kw == 1 && g.top == 0 && g.left == 0 && g.oh == g.h),
        outer(offsets ? g.kh : 1),
        copies(offsets ? g.kw : g.kh * g.kw) {
    constexpr int64_t kSums = (640 << 10) / 4;
    const int64_t fit = kSums / (g.kh * g.kw * vectors * 16);
    slices = in <= 16 ? 1 : ceil_div(in, most(fit / 16 * 16, 16));
    slice = slices == 1 ? in : round_up(ceil_div(in, slices), 16);
    slices = ceil_div(in, slice);
    spread = threads > 1 && groups * slices < 4 * threads && chains > 1;
    piece_images = block_images;
    piece_rows = g.oh;
    if (piece_images == 1) {
      // As many chunks as the second-level cache holds.
      const int64_t step = most(chunk_rows, 1);
      constexpr int64_t kPiece = 640 << 10;
      const int64_t halo = offsets ? (g.kh - 1) * g.dh : 0;
      const int64_t each = kPlanes * g.ow * (copies * slice + (slices == 1 ? vectors * 16 : 0));
      const int64_t rows = most((kPiece / each - halo) / step, 1) * step;
      const int64_t pieces = ceil_div(g.oh, rows);
      piece_rows = least(round_up(ceil_div(g.oh, pieces), step), g.oh);
    }
    x_rows = piece_rows + (offsets ? (g.kh - 1) * g.dh : 0);
    // Rows are packed 64 bytes at a time. They are an odd number of cache lines: those of a tile must not crowd a few sets of the cache.
    row_bytes = (round_up((piece_images - 1) * x_rows * g.ow + round_up(x_rows * g.ow, 64), 64) / 64 | 1) * 64;
    // Whole tiles of rows, and of channels of the last copy.
    const int64_t all_rows = most(round_up(copies * slice, 16), (copies - 1) * slice + round_up(slice, 16));
    plane_bytes = round_up(all_rows * row_bytes + kTileK + (outer - 1) * g.dh * g.ow, 64);
    piece_steps = steps(piece_images, 0, piece_rows, nullptr);
    block_steps = steps(block_images, 0, g.oh, nullptr);
  }

  // The steps of rows [row, row + rows) of `images` images, whose x is packed from that row on: returns how many.
  int64_t steps(int64_t images, int64_t row, int64_t rows, TileStep* to) const {
    int64_t n = 0;
    for_runs(images, row, rows, [&](int64_t image, int64_t r, int64_t column, int64_t pixels, bool flush) {
      for (int64_t k = 0; k < pixels; k += kTileK, ++n)
        if (to != nullptr)
          to[n] = {static_cast<int32_t>((image * x_rows + r - row) * g.ow + column + k), flush && k + kTileK >= pixels ? 1 : 0};
    });
    return n;
  }
  // f(image, row, column, pixels, flush) for runs of K.
  template <class Function>
  void for_runs(int64_t images, int64_t row, int64_t rows, Function f) const {
    if (chunk_rows == 0) {
      for (int64_t i = 0; i < images; ++i)
        for (int64_t r = row; r < row + rows; ++r)
          for (int64_t c = 0; c < g.ow; c += 2 * kTileK) f(i, r, c, least(2 * kTileK, g.ow - c), true);
      return;
    }
    // A chunk takes rows of the images one after the other.
    int64_t left = chunk_rows;
    for (int64_t i = 0; i < images; ++i)
      for (int64_t r = row; r < row + rows;) {
        const int64_t n = least(left, row + rows - r);
        left -= n;
        f(i, r, 0, n * g.ow, left == 0 || (i + 1 == images && r + n == row + rows));
        r += n;
        if (left == 0) left = chunk_rows;
      }
  }

  // Rows of a copy: a tile of a slice never has two copies' rows, so that its rows are neighbours in the result; of the whole they are anyway.
  int64_t copy_rows(int64_t channels) const { return slices == 1 ? channels : round_up(channels, 16); }
  int64_t row_tiles(int64_t channels) const { return ceil_div(copies * copy_rows(channels), 16); }  // of one kernel row
  int64_t tiles_of(int64_t channels) const { return outer * row_tiles(channels); }
  // Of kMostLanes vectors; the last strip writes all its tiles.
  int64_t panel_sums() const { return round_up(tiles_of(slice), kSumTiles) * 16 * kMostLanes * 16; }
  int64_t slice_sums() const { return ceil_div(vectors, kMostLanes) * panel_sums(); }
  int64_t block_bytes() const { return vectors * block_steps * kRightBytes; }
  bool first_stage() const { return slices > 1 || spread; }
  bool dy_first() const { return slices > 1; }
};

struct TileGradScratch {
  BlockScale* scales;  // [group][block][x, dy]
  int8_t* dy_blocks;   // dy_first: [group][block][vector][step][plane][16][64]
  float* chains;       // spread: [group][slice][chain][slice_sums]
  float* sums;         // else this worker's: a chain of a slice,
  float* totals;       // and the chains before it
  int8_t* x;           // [plane][copy][channel][row_bytes]
  int8_t* base;        // [plane][channel][base_row], before it is copied
  uint64_t* inside;    // [kernel column][64 pixels of a row]: whose source is inside the image
  int8_t* dy;          // this worker's piece
  TileStep* steps;
  int64_t bytes;

  static int64_t base_row(const TileGradWork& w) { return ((round_up(w.x_rows * w.g.w, 64) / 64 + 1) | 1) * 64; }
  static int64_t masks(const TileGradWork& w) { return ceil_div(w.x_rows * w.g.ow, 64); }

  TileGradScratch(const TileGradWork& w, std::byte* memory, int worker, int threads) {
    Carver c{memory};
    scales = c.take<BlockScale>(w.first_stage() ? w.groups * w.blocks * 2 : 0);
    dy_blocks = c.take<int8_t>(w.dy_first() ? w.groups * w.blocks * w.block_bytes() : 0);
    chains = c.take<float>(w.spread ? w.groups * w.slices * w.chains * w.slice_sums() : 0);
    for (int i = 0; i < threads; ++i) {
      float* const sums_here = c.take<float>(w.slice_sums());
      float* const totals_here = c.take<float>(w.spread ? 0 : w.slice_sums());
      int8_t* const x_here = c.take<int8_t>(kPlanes * w.plane_bytes);
      int8_t* const base_here =
          c.take<int8_t>(w.offsets && !w.direct ? kPlanes * round_up(w.slice, 16) * base_row(w) + 64 : 0);
      uint64_t* const inside_here = c.take<uint64_t>(w.offsets && !w.direct ? w.g.kw * masks(w) : 0);
      int8_t* const dy_here = c.take<int8_t>(w.dy_first() ? 0 : w.vectors * w.piece_steps * kRightBytes);
      TileStep* const steps_here = c.take<TileStep>(most(w.piece_steps, w.block_steps));
      if (i != worker) continue;
      sums = sums_here;
      totals = totals_here;
      x = x_here;
      base = base_here + 64;  // the first shifts begin before it
      inside = inside_here;
      dy = dy_here;
      steps = steps_here;
    }
    bytes = c.used;
  }
};

// ---------------------------------------------------------------- packing
// Integers of 16 channels of a pixel, or of its first `lanes`; nullptr: zeros.
template <class T>
HALFTONE_INLINE I channels_of(const T* p, int64_t lanes, F inverse) {
  if (p == nullptr) return zero_i();
  return quantise(lanes >= 16 ? widen(p) : widen(p, lanes), inverse);
}

// 64 pixels of 16 channels from channel c on, or of `lanes`: lane l of quad q holds pixels 4 q to 4 q + 3 of channel c + l.
template <class T>
HALFTONE_INLINE void pack_quads(const T* const* pixels, int64_t c, int64_t lanes, F inverse, int8_t* y, int64_t plane) {
  for (int64_t q = 0; q < 16; ++q, y += 64) {
    I x[4];
    for (int64_t i = 0; i < 4; ++i) {
      const T* const p = pixels[4 * q + i];
      x[i] = channels_of(p == nullptr ? nullptr : p + c, lanes, inverse);
    }
    Quads(pair(x[0], x[1]), pair(x[2], x[3])).store_to(y, plane);
  }
}

// n pixels, pixel(i) one after the other, of `channels` channels into rows of bytes, 64 at a time: zeros beyond the last.
template <class T, class Pixel>
void pack_rows(Pixel pixel, int64_t n, int64_t channels, F inverse, int8_t* y, int64_t row, int64_t plane) {
  alignas(64) int8_t quads[kRightBytes];
  const T* pixels[kTileK];
  for (int64_t k = 0; k < n; k += kTileK) {
    for (int64_t i = 0; i < kTileK; ++i) pixels[i] = k + i < n ? pixel(k + i) : nullptr;
    for (int64_t c = 0; c < channels; c += 16) {
      pack_quads(pixels, c, channels - c, inverse, quads, kTileBytes);
      for (int p = 0; p < kPlanes; ++p)
        transpose(reinterpret_cast<const int32_t*>(quads + p * kTileBytes),
                  reinterpret_cast<int32_t*>(y + p * plane + c * row + k), row / 4);
    }
  }
}

// dy of rows [row, row + rows) of `images` images in steps; `all` steps lie between two vectors.
template <class T>
void tile_pack_dy(const TileGradWork& w, const ProductOperands& operands, int64_t group, int64_t image, int64_t images,
                  int64_t row, int64_t rows, float inverse, int8_t* y, int64_t all) {
  const ConvGeometry& g = w.g;
  const F scale = splat(inverse);
  const T* pixels[kTileK];
  w.for_runs(images, row, rows, [&](int64_t i, int64_t r, int64_t column, int64_t n, bool) {
    const T* const from =
        static_cast<const T*>(operands.b) + (((image + i) * g.oh + r) * g.ow + column) * g.o + group * w.out;
    for (int64_t k = 0; k < n; k += kTileK, y += kRightBytes) {
      for (int64_t j = 0; j < kTileK; ++j) pixels[j] = k + j < n ? from + (k + j) * g.o : nullptr;
      for (int64_t v = 0; v < w.vectors; ++v)
        pack_quads(pixels, 16 * v, w.out - 16 * v, scale, y + v * all * kRightBytes, kTileBytes);
    }
  });
}

// Which pixels of a packed row have a source for each kernel column.
inline void find_inside(const TileGradWork& w, uint64_t* inside) {
  for (int64_t kw = 0; kw < w.g.kw; ++kw) {
    const int64_t shift = kw * w.g.dw - w.g.left;
    for (int64_t block = 0; block < TileGradScratch::masks(w); ++block) {
      uint64_t mask = 0;
      for (int64_t i = 0; i < 64; ++i) {
        const int64_t column = (64 * block + i) % w.g.ow + shift;
        mask |= static_cast<uint64_t>(column >= 0 && column < w.g.w && 64 * block + i < w.x_rows * w.g.ow) << i;
      }
      *inside++ = mask;
    }
  }
}

// What rows [row, row + rows) of dy meet of x, channels [channel, channel + channels).
template <class T>
void tile_pack_x(const TileGradWork& w, const ProductOperands& operands, const TileGradScratch& s, int64_t group,
                 int64_t image, int64_t images, int64_t row, int64_t rows, int64_t channel, int64_t channels,
                 float inverse) {
  const ConvGeometry& g = w.g;
  const F scale = splat(inverse);
  for (int64_t i = 0; i < images; ++i) {
    const T* const x = static_cast<const T*>(operands.a) + (image + i) * g.h * g.w * g.c + group * w.in + channel;
    int8_t* const to = s.x + i * w.x_rows * g.ow;
    if (w.direct) {
      const T* const from = x + row * g.w * g.c;
      pack_rows<T>([&](int64_t p) { return from + p * g.c; }, rows * g.w, channels, scale, to, w.row_bytes, w.plane_bytes);
      continue;
    }
    if (!w.offsets) {
      for (int64_t tap = 0; tap < w.copies; ++tap) {
        const int64_t down = tap / g.kw * g.dh - g.top;
        const int64_t right = tap % g.kw * g.dw - g.left;
        int64_t r = row;
        int64_t c = 0;
        const auto pixel = [&](int64_t) -> const T* {
          const int64_t ih = r * g.sh + down;
          const int64_t iw = c * g.sw + right;
          if (++c == g.ow) ++r, c = 0;
          return ih < 0 || ih >= g.h || iw < 0 || iw >= g.w ? nullptr : x + (ih * g.w + iw) * g.c;
        };
        pack_rows<T>(pixel, rows * g.ow, channels, scale, to + tap * w.copy_rows(channels) * w.row_bytes, w.row_bytes,
                     w.plane_bytes);
      }
      continue;
    }
    // The rows that exist between rows of zeros, then each kernel column's copy.
    const int64_t x_rows = rows + (g.kh - 1) * g.dh;
    const int64_t first = row - g.top;
    const int64_t begin = least(most(-first, 0), x_rows);
    const int64_t end = most(least(g.h - first, x_rows), begin);
    const int64_t base_row = TileGradScratch::base_row(w);
    const int64_t base_plane = round_up(w.slice, 16) * base_row;
    const T* const from = x + (first + begin) * g.w * g.c;
    pack_rows<T>([&](int64_t p) { return from + p * g.c; }, (end - begin) * g.w, channels, scale, s.base + begin * g.w, base_row,
                 base_plane);
    if (begin > 0 || end < x_rows)
      for (int p = 0; p < kPlanes; ++p)
        for (int64_t c = 0; c < channels; ++c) {
          int8_t* const b = s.base + p * base_plane + c * base_row;
          __builtin_memset(b, 0, static_cast<size_t>(begin * g.w));
          __builtin_memset(b + end * g.w, 0, static_cast<size_t>((x_rows - end) * g.w));
        }
    const int64_t blocks = ceil_div(x_rows * g.ow, 64);
    for (int64_t kw = 0; kw < g.kw; ++kw) {
      const uint64_t* const inside = s.inside + kw * TileGradScratch::masks(w);
      for (int p = 0; p < kPlanes; ++p)
        for (int64_t c = 0; c < channels; ++c) {
          int8_t* const y = to + p * w.plane_bytes + (kw * w.copy_rows(channels) + c) * w.row_bytes;
          const int8_t* const b = s.base + p * base_plane + c * base_row + kw * g.dw - g.left;
          for (int64_t k = 0; k < blocks; ++k)
            _mm512_storeu_si512(y + 64 * k, _mm512_maskz_loadu_epi8(inside[k], b + 64 * k));
        }
    }
  }
}

// ---------------------------------------------------------------- multiplying
// What follows a chunk: it is added to c; a chain's last one goes to the chains before it instead.
template <int M, int V>
struct GradCarry {
  float* c;
  float* total;
  bool first, last, total_first;  // of the chain; whether there is nothing in total
  float scale;

  HALFTONE_INLINE void rows(const int32_t* sums, int m, int begin, int end) const {
    if (last)
      total_first ? add_rows<true, true>(sums, m, begin, end) : add_rows<true, false>(sums, m, begin, end);
    else
      add_rows<false, false>(sums, m, begin, end);
  }

 private:
  template <bool kLast, bool kTotalFirst>
  HALFTONE_INLINE void add_rows(const int32_t* sums, int m, int begin, int end) const {
    const F by = splat(scale);
    for (int i = begin; i < end; ++i)
      for (int v = 0; v < V; ++v) {
        const int64_t at = ((m * 16 + i) * V + v) * 16;
        F sum = fma(chunk_sum(sums + v * kSumInts + 16 * i), by, first ? zero_f() : load(c + at));
        if (kLast && !kTotalFirst) sum = add(load(total + at), sum);
        store((kLast ? total : c) + at, sum);
      }
  }
};

// Where in its chain a piece lies.
struct ChainPart {
  bool first, last, first_chain;
};

// Adds a piece of `steps` steps to the sums of V vectors. dy: the first vector's steps, `all` between two vectors.
template <int V>
void tile_multiply_piece(const TileGradWork& w, const TileGradScratch& s, int64_t channels, int64_t steps, const int8_t* dy,
                         int64_t all, ChainPart part, float scale, float* sums, float* totals) {
  constexpr int M = kSumTiles / V;
  const int64_t row_tiles = w.row_tiles(channels);
  const int64_t tiles = w.tiles_of(channels);
  Pipe<M, V, GradCarry<M, V>> pipe(16);
  Strip<M> t{};
  t.a_row = w.row_bytes;
  t.a_plane = w.plane_bytes;
  t.b_vector = all * kRightBytes;
  GradCarry<M, V> carry{};
  carry.scale = scale;
  carry.total_first = part.first_chain;
  for (int64_t begin = 0; begin < steps;) {
    const int64_t end = begin + s.steps[begin].left;
    t.steps = s.steps + begin;
    t.step_count = end - begin;
    t.b = dy + begin * kRightBytes;
    carry.first = part.first && begin == 0;
    carry.last = part.last && end == steps;
    for (int64_t tile = 0; tile < tiles; tile += M) {
      for (int64_t m = 0; m < M; ++m) {
        const int64_t here = least(tile + m, tiles - 1);
        t.a[m] = s.x + here % row_tiles * 16 * w.row_bytes + here / row_tiles * w.g.dh * w.g.ow;
      }
      carry.c = sums + tile * 16 * V * 16;
      carry.total = totals + tile * 16 * V * 16;
      pipe.run(t, [&] { return carry; });
    }
    // A strip must not meet its own sums while they are late.
    if (tiles <= M) pipe.drain();
    begin = end;
  }
  pipe.drain();
}

// The chains [chain, chain_end) of a slice, each from 0, added up in totals.
template <class T>
void tile_add_chains(const TileGradWork& w, const ProductOperands& operands, const TileGradScratch& s, int64_t group,
                     int64_t channel, int64_t chain, int64_t chain_end, float* totals) {
  const ConvGeometry& g = w.g;
  const int64_t channels = least(w.slice, w.in - channel);
  if (w.offsets && !w.direct) find_inside(w, s.inside);
  for (int64_t q = chain; q < chain_end; ++q) {
    const int64_t begin = q * w.blocks / w.chains * w.block_images;
    const int64_t end = least((q + 1) * w.blocks / w.chains * w.block_images, g.n);
    for (int64_t image = begin; image < end; image += w.block_images) {
      const int64_t images = least(w.block_images, end - image);
      const int64_t block = group * w.blocks + image / w.block_images;
      BlockScale scales[2];
      if (w.first_stage())
        scales[0] = s.scales[2 * block], scales[1] = s.scales[2 * block + 1];
      else
        find_scales<T>(g, w.in, w.out, operands, group, image, images, scales[0], scales[1]);
      int64_t done = 0;  // steps of the block
      for (int64_t row = 0; row < g.oh; row += w.piece_rows) {
        const int64_t rows = least(w.piece_rows, g.oh - row);
        const int64_t steps = w.steps(images, row, rows, s.steps);
        count_steps_left(s.steps, steps);
        tile_pack_x<T>(w, operands, s, group, image, images, row, rows, channel, channels, scales[0].inverse);
        if (!w.dy_first()) tile_pack_dy<T>(w, operands, group, image, images, row, rows, scales[1].inverse, s.dy, steps);
        const int64_t all = w.dy_first() ? w.block_steps : steps;
        const int8_t* const dy = w.dy_first() ? s.dy_blocks + block * w.block_bytes() + done * kRightBytes : s.dy;
        const ChainPart part{image == begin && row == 0, image + images == end && row + rows == g.oh, q == chain};
        const float scale = scales[0].scale * scales[1].scale;
        for (int64_t v = 0; v < w.vectors; v += kMostLanes) {
          const int64_t at = v / kMostLanes * w.panel_sums();
          const int8_t* const right = dy + v * all * kRightBytes;
          if (w.vectors - v >= 2)
            tile_multiply_piece<2>(w, s, channels, steps, right, all, part, scale, s.sums + at, totals + at);
          else
            tile_multiply_piece<1>(w, s, channels, steps, right, all, part, scale, s.sums + at, totals + at);
        }
        done += steps;
      }
    }
  }
}

// Stores a slice of the result from `chains` sets of sums, `between` apart.
template <class T>
void tile_store_slice(const TileGradWork& w, const ProductOperands& operands, int64_t group, int64_t channel, const float* sums,
                      int64_t chains, int64_t between) {
  const int64_t channels = least(w.slice, w.in - channel);
  const int64_t row_terms = w.g.kh * w.g.kw * w.in;
  const int64_t copy_rows = w.copy_rows(channels);
  const int64_t rows = w.copies * copy_rows;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t v = 0; v < w.vectors; ++v) {
    const int64_t width = least(kMostLanes, w.vectors - v / kMostLanes * kMostLanes);
    const float* const from = sums + v / kMostLanes * w.panel_sums() + v % kMostLanes * 16;
    T* const y = static_cast<T*>(operands.y) + (group * w.out + v * 16) * row_terms + channel;
    const int64_t lanes = least(16, w.out - v * 16);
    const int64_t row_tiles = ceil_div(rows, 16);
    for (int64_t o = 0; o < w.outer; ++o)
      for (int64_t j = 0; j < rows; j += 16) {
        const int64_t n = least(16, w.slices == 1 ? rows - j : channels - j % copy_rows);
        for (int64_t i = 0; i < n; ++i) {
          const float* const p = from + ((o * row_tiles + j / 16) * 16 + i) * width * 16;
          F sum = load(p);
          for (int64_t q = 1; q < chains; ++q) sum = add(sum, load(p + q * between));
          store(reinterpret_cast<float*>(in + 16 * i), sum);
        }
        transpose(in, out, 16);
        const int64_t to = (o * w.copies + j / copy_rows) * w.in + j % copy_rows;
        for (int64_t l = 0; l < lanes; ++l) {
          const F row = load(reinterpret_cast<const float*>(out + 16 * l));
          if (n == 16)
            narrow(y + l * row_terms + to, row);
          else
            narrow(y + l * row_terms + to, row, n);
        }
      }
  }
}

// ---------------------------------------------------------------- plan and run
inline void tile_grad_weight_plan(ProductPlan& plan) {
  const TileGradWork w(plan.product, plan.threads);
  plan.stages = 0;
  if (w.first_stage()) plan.chunks[plan.stages++] = w.groups * w.blocks;
  plan.chunks[plan.stages++] = w.groups * w.slices * (w.spread ? w.chains : 1);
  if (w.spread) plan.chunks[plan.stages++] = w.groups * w.slices;
  plan.scratch_bytes = TileGradScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T>
void tile_grad_weight_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  const TileGradWork w(plan.product, plan.threads);
  const TileGradScratch s(w, x.scratch, worker, plan.threads);
  if (w.first_stage() && stage-- == 0) {
    const int64_t group = chunk / w.blocks;
    const int64_t image = chunk % w.blocks * w.block_images;
    const int64_t images = least(w.block_images, w.g.n - image);
    BlockScale* const scales = s.scales + 2 * chunk;
    find_scales<T>(w.g, w.in, w.out, x, group, image, images, scales[0], scales[1]);
    if (w.dy_first())
      tile_pack_dy<T>(w, x, group, image, images, 0, w.g.oh, scales[1].inverse, s.dy_blocks + chunk * w.block_bytes(),
                      w.block_steps);
    return;
  }
  const int64_t each = w.spread && stage == 0 ? w.chains : 1;
  const int64_t index = chunk / each;
  const int64_t group = index / w.slices;
  const int64_t channel = index % w.slices * w.slice;
  float* const chains = s.chains + index * w.chains * w.slice_sums();
  if (!w.spread) {
    tile_add_chains<T>(w, x, s, group, channel, 0, w.chains, s.totals);
    tile_store_slice<T>(w, x, group, channel, s.totals, 1, 0);
  } else if (stage == 0) {
    const int64_t chain = chunk % each;
    tile_add_chains<T>(w, x, s, group, channel, chain, chain + 1, chains + chain * w.slice_sums());
  } else {
    tile_store_slice<T>(w, x, group, channel, chains, w.chains, w.slice_sums());
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
