// The weight gradient on tiles: rows of a tile are (kh, kw, c) of x, lanes output channels (dy), K is pixels.
//
// The pixels of a block of images are one list, and a chunk is up to 128 neighbours in it: at most two steps.
// dy is packed in quads of pixels as it lies. x is packed for each chunk and tap: 64 pixels of each channel
// that meet the step's pixels of dy, zeros where the padding was, so that a tile is 1 KiB of neighbours.
// Where dy is as large as x a tap is a shift of the list: x is transposed once, a piece of some rows at a
// time, and taps are copied from that under masks.
//
// The result is cut into slices of input channels whose fp32 sums stay in the second-level cache while all
// images pass over them. Stages: find the scales of a block of images and, when there are several slices,
// pack its dy; all chains of a slice, one after the other, and its store, or, when that gives too few chunks
// for the threads, each chain by itself, and a stage that adds the chains and stores.
#pragma once

#include "kern/amx/planes.h"
#include "kern/simd/matrix_grad_weight.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct TileGradWork {
  static constexpr int64_t kMostSteps = 2;  // of a chunk

  ConvGeometry g;
  int64_t groups, in, out, taps;
  int64_t block_images, chains, blocks;
  int64_t block_pixels, chunk_pixels;
  int64_t row_chunks;  // of a row, where rows are longer than a chunk
  int64_t vectors;
  bool same;  // dy is as large as x, and taps are shifts
  int64_t slice, slices;
  bool spread;
  int64_t piece_chunks;           // of which dy and base are packed at a time
  int64_t halo;                   // pixels of x before and behind a piece that it meets
  int64_t base_pixels, base_row;  // of a piece; bytes of a channel
  int64_t step_bytes;             // of packed x in one plane
  int64_t block_chunks, block_steps;

  TileGradWork(const Product& p, int threads)
      : g(p.conv),
        groups(g.group),
        in(g.c / groups),
        out(g.o / groups),
        taps(g.kh * g.kw),
        block_images(p.block_images),
        chains(p.image_groups),
        blocks(ceil_div(g.n, p.block_images)),
        block_pixels(block_images * g.oh * g.ow),
        chunk_pixels(p.chunk_rows == 0 ? 2 * kTileK : p.chunk_rows * g.ow),
        row_chunks(p.chunk_rows == 0 ? ceil_div(g.ow, chunk_pixels) : 0),
        vectors(ceil_div(out, 16)),
        same(g.sh == 1 && g.sw == 1 && g.w == g.ow && g.h == g.oh) {
    constexpr int64_t kSums = (512 << 10) / 4;
    const int64_t fit = kSums / (taps * vectors * 16);
    slices = in <= 16 ? 1 : ceil_div(in, most(fit / 16 * 16, 16));
    slice = slices == 1 ? in : round_up(ceil_div(in, slices), 16);
    slices = ceil_div(in, slice);
    if (threads > 1 && slices > 1) divide_slices(threads);
    spread = threads > 1 && groups * slices < 2 * threads && chains > 1;
    block_chunks = chunks_of(block_images);
    block_steps = block_chunks * kMostSteps;
    halo = same ? (g.kh - 1) * g.dh * g.w + (g.kw - 1) * g.dw : 0;
    constexpr int64_t kPiece = 256 << 10;
    const int64_t each = kPlanes * chunk_pixels * ((same ? slice : 0) + (dy_first() ? 0 : vectors * 16));
    piece_chunks = least(most(kPiece / most(each, 1), 1), block_chunks);
    // Enough of them that what pieces share of x weighs little.
    if (same && piece_chunks * chunk_pixels < 2 * halo)
      piece_chunks = least(ceil_div(2 * halo, chunk_pixels), block_chunks);
    base_pixels = piece_chunks * chunk_pixels + 2 * halo + kTileK;
    base_row = (round_up(base_pixels, 64) / 64 | 1) * 64;
    step_bytes = round_up((taps - 1) * copy_rows(slice) + round_up(slice, 16), 16) * kTileK;
  }

  // More slices, where that shares the work out more evenly: two or more for each thread. Chains by
  // themselves would keep all sums of all chains.
  void divide_slices(int64_t threads) {
    const int64_t fewest = slices;
    int64_t least_work = INT64_MAX;
    for (int64_t n = fewest; n <= ceil_div(in, 16); ++n) {
      const int64_t channels = round_up(ceil_div(in, n), 16);
      const int64_t count = ceil_div(in, channels);
      const int64_t strips = taps * channels / 16;
      const int64_t work = most(ceil_div(groups * count, threads), 2) * (strips + 2);
      if (work < least_work) {
        least_work = work;
        slice = channels;
        slices = count;
      }
    }
  }

  // Chunk i of a block of `images` images: its first pixel and how many.
  int64_t chunks_of(int64_t images) const {
    return row_chunks > 0 ? images * g.oh * row_chunks : ceil_div(images * g.oh * g.ow, chunk_pixels);
  }
  int64_t chunk_begin(int64_t i) const {
    return row_chunks > 0 ? i / row_chunks * g.ow + i % row_chunks * chunk_pixels : i * chunk_pixels;
  }
  int64_t chunk_size(int64_t i, int64_t images) const {
    const int64_t left =
        row_chunks > 0 ? g.ow - i % row_chunks * chunk_pixels : images * g.oh * g.ow - i * chunk_pixels;
    return least(left, chunk_pixels);
  }

  // Rows of a tap: a tile of a slice never has two taps' rows, so that its rows are neighbours in the result;
  // of the whole they are anyway.
  int64_t copy_rows(int64_t channels) const { return slices == 1 ? channels : round_up(channels, 16); }
  int64_t tiles_of(int64_t channels) const { return ceil_div(taps * copy_rows(channels), 16); }
  // Of kMostLanes vectors; the last strip writes all its tiles.
  int64_t panel_sums() const { return round_up(tiles_of(slice), kSumTiles) * 16 * kMostLanes * 16; }
  int64_t slice_sums() const { return ceil_div(vectors, kMostLanes) * panel_sums(); }
  int64_t block_bytes() const { return vectors * block_steps * kRightBytes; }
  bool first_stage() const { return slices > 1 || spread; }
  bool dy_first() const { return slices > 1; }
  int64_t shift(int64_t tap) const { return (tap / g.kw * g.dh - g.top) * g.w + tap % g.kw * g.dw - g.left; }
};

struct TileGradScratch {
  BlockScale* scales;  // [group][block][x, dy]
  int8_t* dy_blocks;   // dy_first: [group][block][vector][step][plane][16][64]
  float* chains;       // spread: [group][slice][chain][slice_sums]
  float* sums;         // else this worker's: a chain of a slice,
  float* totals;       // and the chains before it
  int8_t* x;           // [plane][step][tap][channel][64], of a chunk
  int8_t* base;        // same: [plane][channel][base_row], of a piece
  uint64_t* inside;    // same: [step of a block][tap]: whose source is inside the image
  int8_t* dy;          // this worker's piece: [vector][step][plane][16][64]
  int64_t bytes;

  TileGradScratch(const TileGradWork& w, std::byte* memory, int worker, int threads) {
    Carver c{memory};
    scales = c.take<BlockScale>(w.first_stage() ? w.groups * w.blocks * 2 : 0);
    dy_blocks = c.take<int8_t>(w.dy_first() ? w.groups * w.blocks * w.block_bytes() : 0);
    chains = c.take<float>(w.spread ? w.groups * w.slices * w.chains * w.slice_sums() : 0);
    for (int i = 0; i < threads; ++i) {
      float* const sums_here = c.take<float>(w.spread ? 0 : w.slice_sums());
      float* const totals_here = c.take<float>(w.spread ? 0 : w.slice_sums());
      int8_t* const x_here = c.take<int8_t>(x_plane(w) * kPlanes);
      int8_t* const base_here = c.take<int8_t>(w.same ? kPlanes * base_plane(w) + kTileK : 0);
      uint64_t* const inside_here = c.take<uint64_t>(w.same ? w.block_steps * w.taps : 0);
      int8_t* const dy_here = c.take<int8_t>(
          w.dy_first() ? 0 : w.vectors * w.piece_chunks * TileGradWork::kMostSteps * kRightBytes);
      if (i != worker) continue;
      sums = sums_here;
      totals = totals_here;
      x = x_here;
      base = base_here;
      inside = inside_here;
      dy = dy_here;
    }
    bytes = c.used;
  }
  static int64_t x_plane(const TileGradWork& w) { return w.step_bytes * TileGradWork::kMostSteps; }
  static int64_t base_plane(const TileGradWork& w) { return round_up(w.slice, 16) * w.base_row; }
};

// ---------------------------------------------------------------- packing
// n neighbouring pixels, and nothing for the rest of 64.
template <class T>
HALFTONE_INLINE void neighbours(const T* p, int64_t stride, int64_t n, const T** pixels) {
  for (int64_t i = 0; i < kTileK; ++i) pixels[i] = i < n ? p + i * stride : nullptr;
}

// dy of the chunks [chunk, chunk_end) of a block; `all` steps lie between two vectors.
template <class T>
void tile_pack_dy(const TileGradWork& w, const ProductOperands& operands, int64_t group, int64_t image,
                  int64_t images, int64_t chunk, int64_t chunk_end, float inverse, int8_t* y, int64_t all) {
  const ConvGeometry& g = w.g;
  const Factors<T> by(splat(inverse), splat(inverse));
  const T* const block = static_cast<const T*>(operands.b) + image * g.oh * g.ow * g.o + group * w.out;
  const T* pixels[kTileK];
  for (; chunk < chunk_end; ++chunk) {
    const int64_t size = w.chunk_size(chunk, images);
    const T* const from = block + w.chunk_begin(chunk) * g.o;
    for (int64_t step = 0; step < TileGradWork::kMostSteps; ++step, y += kRightBytes) {
      if (step * kTileK >= size) continue;
      neighbours(from + step * kTileK * g.o, g.o, size - step * kTileK, pixels);
      for (int64_t v = 0; v < w.vectors; v += 2) {
        int8_t* const to = y + v * all * kRightBytes;
        pack_quads(pixels, 16 * v, w.out - 16 * v, by, to, to + all * kRightBytes, kTileBytes);
      }
    }
  }
}

// Bits [begin, end) of 64.
inline uint64_t bits(int64_t begin, int64_t end) {
  const auto below = [](int64_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; };
  return begin < end ? below(end) & ~below(begin) : 0;
}
// same: which pixels of each step have a source for each tap.
inline void find_inside(const TileGradWork& w, uint64_t* inside) {
  const ConvGeometry& g = w.g;
  for (int64_t chunk = 0; chunk < w.block_chunks; ++chunk)
    for (int64_t step = 0; step < TileGradWork::kMostSteps; ++step) {
      const int64_t begin = w.chunk_begin(chunk) + step * kTileK;
      const int64_t end =
          most(least(begin + kTileK, w.chunk_begin(chunk) + w.chunk_size(chunk, w.block_images)), begin);
      for (int64_t tap = 0; tap < w.taps; ++tap, ++inside) {
        const int64_t down = tap / g.kw * g.dh - g.top;
        const int64_t right = tap % g.kw * g.dw - g.left;
        uint64_t mask = 0;
        for (int64_t row = begin / g.w; row * g.w < end; ++row) {
          if (row % g.h + down < 0 || row % g.h + down >= g.h) continue;
          const int64_t first = row * g.w + most(-right, 0);
          const int64_t last = row * g.w + least(g.w, g.w - right);
          mask |= bits(most(first - begin, 0), least(last, end) - begin);
        }
        *inside = mask;
      }
    }
}

// same: transposes the pixels that the chunks [chunk, chunk_end) of a block meet. Returns the one that base
// begins with.
template <class T>
int64_t tile_pack_base(const TileGradWork& w, const T* block, int64_t images, int64_t chunk,
                       int64_t chunk_end, int64_t channels, float inverse, int8_t* base, int64_t plane) {
  const ConvGeometry& g = w.g;
  const int64_t all = images * g.h * g.w;
  const int64_t last = chunk_end - 1;
  const int64_t begin = most(w.chunk_begin(chunk) - w.halo, 0);
  const int64_t end = least(w.chunk_begin(last) + w.chunk_size(last, images) + w.halo, all);
  const T* pixels[kTileK];
  for (int64_t k = begin; k < end; k += kTileK) {
    neighbours(block + k * g.c, g.c, end - k, pixels);
    pack_rows<true>(pixels, channels, &inverse, base + (k - begin), w.base_row, plane);
  }
  return begin;
}

// What one step of dy meets of x: `size` pixels from `begin` on. base: of tile_pack_base, at this pixel;
// nullptr where that isn't packed.
template <class T>
void tile_pack_x(const TileGradWork& w, const T* block, int64_t begin, int64_t size, int64_t channels,
                 float inverse, const int8_t* base, int64_t base_plane, const uint64_t* inside, int8_t* y,
                 int64_t plane) {
  const ConvGeometry& g = w.g;
  const int64_t rows = w.copy_rows(channels);
  if (base != nullptr) {
    for (int64_t tap = 0; tap < w.taps; ++tap)
      for (int p = 0; p < kPlanes; ++p) {
        const int8_t* from = base + p * base_plane + w.shift(tap);
        int8_t* to = y + p * plane + tap * rows * kTileK;
        for (int64_t c = 0; c < channels; ++c, from += w.base_row, to += kTileK)
          _mm512_store_si512(to, _mm512_maskz_loadu_epi8(inside[tap], from));
      }
    return;
  }
  const T* pixels[kTileK];
  for (int64_t tap = 0; tap < w.taps; ++tap) {
    const int64_t down = tap / g.kw * g.dh - g.top;
    const int64_t right = tap % g.kw * g.dw - g.left;
    int64_t column = begin % g.ow;
    int64_t row = begin / g.ow % g.oh;
    int64_t image = begin / g.ow / g.oh;
    for (int64_t i = 0; i < kTileK; ++i) {
      const int64_t ih = row * g.sh + down;
      const int64_t iw = column * g.sw + right;
      const bool exists = i < size && ih >= 0 && ih < g.h && iw >= 0 && iw < g.w;
      pixels[i] = exists ? block + ((image * g.h + ih) * g.w + iw) * g.c : nullptr;
      if (++column < g.ow) continue;
      column = 0;
      if (++row == g.oh) row = 0, ++image;
    }
    pack_rows<true>(pixels, channels, &inverse, y + tap * rows * kTileK, kTileK, plane);
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
    // Copies: what is stored might be these.
    float* const chain = c;
    float* const all = total;
    const bool from_zero = first;
    for (int i = begin; i < end; ++i)
      for (int v = 0; v < V; ++v) {
        const int64_t at = ((m * 16 + i) * V + v) * 16;
        F sum = fma(chunk_sum(sums + v * kSumInts + 16 * i), by, from_zero ? zero_f() : load(chain + at));
        if (kLast && !kTotalFirst) sum = add(load(all + at), sum);
        store((kLast ? all : chain) + at, sum);
      }
  }
};

// A chunk in its chain: whether it is the first or the last, and whether the chain is the first.
struct ChainPart {
  bool first, last, first_chain;
};

// Adds a chunk of `steps` steps to the sums of `count` times V vectors from vector v on. dy: vector 0's
// steps, `all` between two vectors.
template <int V>
void tile_multiply_chunk(const TileGradWork& w, const TileGradScratch& s, int64_t channels,
                         const TileStep* steps, int64_t step_count, const int8_t* dy, int64_t all, int64_t v,
                         int64_t count, ChainPart part, float scale, float* sums, float* totals) {
  constexpr int M = kSumTiles / V;
  using Carry = GradCarry<M, V>;
  const int64_t tiles = w.tiles_of(channels);
  Carry common{};
  common.scale = scale;
  common.first = part.first;
  common.last = part.last;
  common.total_first = part.first_chain;
  Pipe<M, V, Carry> pipe(16, common);
  Strip<M> t{};
  t.a_row = kTileK;
  t.a_plane = TileGradScratch::x_plane(w);
  t.b_vector = all * kRightBytes;
  t.steps = steps;
  t.step_count = step_count;
  // What is smaller stays in the first-level cache while the other passes.
  const bool x_stays = count <= 2;
  const int64_t strips = ceil_div(tiles, M);
  const int64_t inner = x_stays ? count : strips;
  for (int64_t o = 0; o < (x_stays ? strips : count); ++o)
    for (int64_t n = 0; n < inner; ++n) {
      const int64_t tile = (x_stays ? o : n) * M;
      const int64_t i = x_stays ? n : o;
      for (int64_t m = 0; m < M; ++m) t.a[m] = s.x + least(tile + m, tiles - 1) * kTileBytes;
      t.b = dy + (v + i * V) * t.b_vector;
      const int64_t at = (v / kMostLanes + i) * w.panel_sums() + tile * 16 * V * 16;
      pipe.run(t, [&](Carry& carry) {
        carry.c = sums + at;
        carry.total = totals + at;
      });
    }
  pipe.drain();
}

// The chains [chain, chain_end) of a slice, each from 0 in sums, added up in totals. For a single chain both
// may be the same.
template <class T>
void tile_add_chains(const TileGradWork& w, const ProductOperands& operands, const TileGradScratch& s,
                     int64_t group, int64_t channel, int64_t chain, int64_t chain_end, float* sums,
                     float* totals) {
  const ConvGeometry& g = w.g;
  constexpr int64_t kSteps = TileGradWork::kMostSteps;
  const int64_t channels = least(w.slice, w.in - channel);
  const int64_t base_plane = TileGradScratch::base_plane(w);
  const int64_t x_plane = TileGradScratch::x_plane(w);
  if (w.same) find_inside(w, s.inside);
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
      const T* const x = static_cast<const T*>(operands.a) + image * g.h * g.w * g.c + group * w.in + channel;
      const int64_t chunks = w.chunks_of(images);
      for (int64_t piece = 0; piece < chunks; piece += w.piece_chunks) {
        const int64_t piece_end = least(piece + w.piece_chunks, chunks);
        int64_t base_begin = 0;
        if (w.same)
          base_begin =
              tile_pack_base(w, x, images, piece, piece_end, channels, scales[0].inverse, s.base, base_plane);
        if (!w.dy_first())
          tile_pack_dy<T>(w, operands, group, image, images, piece, piece_end, scales[1].inverse, s.dy,
                          w.piece_chunks * kSteps);
        for (int64_t chunk = piece; chunk < piece_end; ++chunk) {
          const int64_t size = w.chunk_size(chunk, images);
          TileStep steps[kSteps];
          int64_t count = 0;
          for (int64_t k = 0; k < size; k += kTileK, ++count) {
            const int64_t pixel = w.chunk_begin(chunk) + k;
            steps[count] = {static_cast<int32_t>(count * w.step_bytes), k + kTileK >= size ? 1 : 0};
            tile_pack_x(w, x, pixel, size - k, channels, scales[0].inverse,
                        w.same ? s.base + (pixel - base_begin) : nullptr, base_plane,
                        s.inside + (chunk * kSteps + count) * w.taps, s.x + count * w.step_bytes, x_plane);
          }
          count_steps_left(steps, count);
          const int64_t all = w.dy_first() ? w.block_steps : w.piece_chunks * kSteps;
          const int8_t* const dy = w.dy_first()
                                       ? s.dy_blocks + block * w.block_bytes() + chunk * kSteps * kRightBytes
                                       : s.dy + (chunk - piece) * kSteps * kRightBytes;
          const ChainPart part{image == begin && chunk == 0, image + images == end && chunk + 1 == chunks,
                               q == chain};
          const float scale = scales[0].scale * scales[1].scale;
          const int64_t pairs = w.vectors / kMostLanes;
          if (pairs > 0)
            tile_multiply_chunk<2>(w, s, channels, steps, count, dy, all, 0, pairs, part, scale, sums,
                                   totals);
          if (w.vectors % kMostLanes != 0)
            tile_multiply_chunk<1>(w, s, channels, steps, count, dy, all, w.vectors - 1, 1, part, scale, sums,
                                   totals);
        }
      }
    }
  }
}

// Stores a slice of the result from `chains` sets of sums, `between` apart.
template <class T>
void tile_store_slice(const TileGradWork& w, const ProductOperands& operands, int64_t group, int64_t channel,
                      const float* sums, int64_t chains, int64_t between) {
  const int64_t channels = least(w.slice, w.in - channel);
  const int64_t row_terms = w.g.kh * w.g.kw * w.in;
  const int64_t copy_rows = w.copy_rows(channels);
  const int64_t rows = w.taps * copy_rows;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t v = 0; v < w.vectors; ++v) {
    const int64_t width = least(kMostLanes, w.vectors - v / kMostLanes * kMostLanes);
    const float* const from = sums + v / kMostLanes * w.panel_sums() + v % kMostLanes * 16;
    T* const y = static_cast<T*>(operands.y) + (group * w.out + v * 16) * row_terms + channel;
    const int64_t lanes = least(16, w.out - v * 16);
    for (int64_t j = 0; j < rows; j += 16) {
      const int64_t n = least(16, w.slices == 1 ? rows - j : channels - j % copy_rows);
      for (int64_t i = 0; i < n; ++i) {
        const float* const p = from + (j + i) * width * 16;
        F sum = load(p);
        for (int64_t q = 1; q < chains; ++q) sum = add(sum, load(p + q * between));
        store(reinterpret_cast<float*>(in + 16 * i), sum);
      }
      transpose(in, out, 16);
      const int64_t to = j / copy_rows * w.in + j % copy_rows;
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
  const auto w = keep_work<TileGradWork>(plan);
  plan.stages = 0;
  if (w.first_stage()) plan.chunks[plan.stages++] = w.groups * w.blocks;
  plan.chunks[plan.stages++] = w.groups * w.slices * (w.spread ? w.chains : 1);
  if (w.spread) plan.chunks[plan.stages++] = w.groups * w.slices;
  plan.scratch_bytes = TileGradScratch(w, nullptr, 0, plan.threads).bytes;
}

template <class T>
void tile_grad_weight_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
                          int worker) {
  const auto w = work_of<TileGradWork>(plan);
  const TileGradScratch s(w, x.scratch, worker, plan.threads);
  if (w.first_stage() && stage-- == 0) {
    const int64_t group = chunk / w.blocks;
    const int64_t image = chunk % w.blocks * w.block_images;
    const int64_t images = least(w.block_images, w.g.n - image);
    BlockScale* const scales = s.scales + 2 * chunk;
    find_scales<T>(w.g, w.in, w.out, x, group, image, images, scales[0], scales[1]);
    if (w.dy_first())
      tile_pack_dy<T>(w, x, group, image, images, 0, w.chunks_of(images), scales[1].inverse,
                      s.dy_blocks + chunk * w.block_bytes(), w.block_steps);
    return;
  }
  const int64_t each = w.spread && stage == 0 ? w.chains : 1;
  const int64_t index = chunk / each;
  const int64_t group = index / w.slices;
  const int64_t channel = index % w.slices * w.slice;
  float* const chains = s.chains + index * w.chains * w.slice_sums();
  if (!w.spread) {
    tile_add_chains<T>(w, x, s, group, channel, 0, w.chains, s.sums, s.totals);
    tile_store_slice<T>(w, x, group, channel, s.totals, 1, 0);
  } else if (stage == 0) {
    const int64_t chain = chunk % each;
    float* const sums = chains + chain * w.slice_sums();
    tile_add_chains<T>(w, x, s, group, channel, chain, chain + 1, sums, sums);
  } else {
    tile_store_slice<T>(w, x, group, channel, chains, w.chains, w.slice_sums());
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
