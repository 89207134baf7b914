// Conv and its input gradient on tiles: the bands, phases and packed weights of simd/matrix_conv.h, with
// planes of bytes for units.
//
// A tile has up to 16 neighbouring target pixels of a row; a row is cut into tiles of one height, as the
// tiles are configured, so the last one may reach beyond it: what it reads there and computes is not used.
// Images that are packed together because they are small are mixed: pixel by pixel, so that a row has all
// their pixels, and tiles of 2x2 images are as full as others.
//
// Stages are those of matrix_conv.h. Where all images' packed pixels are small beside the packed weights (a
// network's last layers) they are packed first instead, and each chunk of the second stage packs a strip's
// vectors of weights and multiplies all pixels by them: no more of the weights is ever there.
#pragma once

#include "kern/amx/planes.h"
#include "kern/simd/matrix_conv.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct TileConvWork : ConvWork {
  // Packed source: [plane][block][image][row][column][block_bytes], or
  // [plane][block][row][column][image][block_bytes] when images are mixed. Channels that fill steps of K are
  // cut into blocks: the rows of a tile are neighbours in memory then, and don't crowd a few sets of the
  // cache. Else there is one block.
  int64_t block_bytes, blocks;
  int64_t block_step, plane_bytes;
  int64_t steps, phase_steps;  // of K, in all phases and at most in one
  int64_t band_tiles;          // of a vector in one phase, at most
  int64_t near_tiles;          // whose fp32 sums wait together, for all vectors of a strip
  bool pixels_first;           // the two stages of few pixels
  bool mixed;                  // else a step of K may take several pixels of a row, which must be neighbours

  TileConvWork(const Product& p, int threads)
      : ConvWork(p, threads), block_step(0), steps(0), phase_steps(0) {
    panel = 1;  // of the units that planes are made from, a chunk's at a time
    packed_vectors = least(packed_vectors, 4);
    weight_units = 0;
    shared_taps = false;
    const bool whole = in % kTileK == 0;
    block_bytes = whole ? kTileK : 2 * units;
    blocks = whole ? in / kTileK : 1;
    for (int64_t rh = 0; rh < h.phases; ++rh)
      for (int64_t rw = 0; rw < w.phases; ++rw) {
        const int64_t here = for_steps(rh, rw, 1, [](int64_t, int64_t, int64_t, bool) {});
        steps += here;
        phase_steps = most(phase_steps, here);
      }
    pixels_first = bands() == 1 && groups * strips() >= 2 * threads &&
                   2 * images * pixels() * in < vectors * vector_bytes() / kPlanes;
    if (pixels_first) {
      together = images;
      packed_vectors = kMostLanes;
    }
    mixed = whole && together > 1;
    constexpr int64_t kNearBytes = 64 << 10;
    band_tiles = mixed ? band_h * runs(band_w) * ceil_div(run(band_w, together), 16)
                       : together * band_h * ceil_div(band_w, 16);
    near_tiles = least(kNearBytes / (16 * 16 * kMostLanes * 4), round_up(band_tiles, kSumTiles));
    sums = near_tiles * 16 * 16 * kMostLanes;
    block_step = round_up(together * pixels() * block_bytes, 64);
    const int64_t beyond = 16 * w.step * block_bytes + kTileK;  // read by rows and of steps that don't exist
    plane_bytes = round_up(blocks * block_step + beyond, 64);
    source_units = pixels_first ? 0 : kPlanes * plane_bytes / 4;
  }
  int64_t pixels() const { return packed_h * packed_w; }
  // Of `count` images of a band: how many are mixed in memory.
  int64_t mixed_images(int64_t count) const { return !mixed ? 1 : pixels_first ? images : count; }
  // mixed: neighbours in memory among a row's `columns` target pixels of `count` images, and how many such
  // runs a row has.
  int64_t run(int64_t columns, int64_t count) const { return w.step == 1 ? columns * count : count; }
  int64_t runs(int64_t columns) const { return w.step == 1 ? 1 : columns; }
  int64_t vector_bytes() const { return steps * kRightBytes; }
  int64_t strips() const { return ceil_div(vectors, kMostLanes); }

  // f(offset in a plane, first unit, units, flush) for the steps of one phase's K, when `count` images are
  // mixed; returns how many.
  template <class Function>
  int64_t for_steps(int64_t rh, int64_t rw, int64_t count, Function f) const {
    constexpr int64_t kStepUnits = kTileK / 2;
    int64_t done = 0;
    int64_t n = 0;
    for_segments(*this, rh, rw, [&](int64_t offset, int64_t length, bool flush) {
      for (int64_t u = 0; u < length; u += kStepUnits, ++n) {
        const int64_t pixel = (offset + u) / units;
        const int64_t part = (offset + u) % units / kStepUnits;
        const int64_t at =
            blocks > 1 || mixed ? part * block_step + pixel * count * block_bytes : 2 * (offset + u);
        f(at, done + u, least(kStepUnits, length - u), flush && u + kStepUnits >= length);
      }
      done += length;
    });
    return n;
  }
};

// A tile of the target: its first pixel in the packed source (bytes) and in the target (elements; mixed: of
// its run), the image (mixed: the place in its run) of that pixel, and the pixels that exist.
struct TilePlace {
  int64_t source, target;
  int32_t image, rows;
};

struct TileConvScratch : ConvScratch {
  int8_t* tiles;   // [group][vector][phase][step][plane][16][64]; pixels_first: of a strip, this worker's
  int8_t* pixels;  // pixels_first: [group][planes]
  float* pixel_scales;  // and [group][image]
  TileStep* steps;
  TilePlace* places;
  float* run_scales;     // mixed: of the image of each pixel of a run,
  int64_t* run_targets;  // and where it lies from the run's first one
  Unit* units;           // of a chunk of stage 0

  TileConvScratch(const TileConvWork& work, std::byte* base, int worker, int threads)
      : ConvScratch(work, base, worker, threads) {
    Carver c{base, bytes};
    const bool first = work.pixels_first;
    tiles = c.take<int8_t>(first ? 0 : work.groups * work.vectors * work.vector_bytes());
    pixels = c.take<int8_t>(first ? work.groups * kPlanes * work.plane_bytes : 0);
    pixel_scales = c.take<float>(first ? work.groups * work.images : 0);
    for (int i = 0; i < threads; ++i) {
      TileStep* const steps_here = c.take<TileStep>(work.phase_steps);
      TilePlace* const places_here = c.take<TilePlace>(work.band_tiles);
      // The last tile of a run may read scales beyond it.
      const int64_t run = work.mixed ? work.run(work.band_w, work.together) + 16 : 0;
      float* const run_scales_here = c.take<float>(run);
      int64_t* const run_targets_here = c.take<int64_t>(run);
      Unit* const units_here = c.take<Unit>(work.packed_vectors * work.k_units * 16);
      int8_t* const tiles_here = c.take<int8_t>(first ? kMostLanes * work.vector_bytes() : 0);
      if (i != worker) continue;
      steps = steps_here, places = places_here, units = units_here;
      run_scales = run_scales_here, run_targets = run_targets_here;
      if (first) tiles = tiles_here;
    }
    bytes = c.used;
  }
  // Weights of a vector.
  int8_t* vector_tiles(const TileConvWork& work, int64_t group, int64_t vector) const {
    return tiles +
           (work.pixels_first ? vector % kMostLanes : group * work.vectors + vector) * work.vector_bytes();
  }
  int8_t* planes(const TileConvWork& work, int64_t group) const {
    return work.pixels_first ? pixels + group * kPlanes * work.plane_bytes
                             : reinterpret_cast<int8_t*>(source);
  }
  // Of the images of a band.
  float* scales(const TileConvWork& work, int64_t group) const {
    return work.pixels_first ? pixel_scales + group * work.images : source_scales;
  }
};

// ---------------------------------------------------------------- weights
template <class T>
void tile_conv_pack_weights(const TileConvWork& work, const ProductOperands& x, const TileConvScratch& s,
                            int64_t chunk) {
  const int64_t chunks = ceil_div(work.vectors, work.packed_vectors);
  const int64_t group = chunk / chunks;
  const int64_t first = chunk % chunks * work.packed_vectors;
  ConvScratch here = s;
  here.weights = s.units;
  here.first_weight = (group * work.vectors + first) * work.k_units * 16;
  conv_pack_weights<T, true>(work, x, here, chunk);
  for (int64_t v = first; v < least(first + work.packed_vectors, work.vectors); ++v) {
    const Unit* units = s.units + (v - first) * work.k_units * 16;
    int8_t* y = s.vector_tiles(work, group, v);
    for (int64_t rh = 0; rh < work.h.phases; ++rh)
      for (int64_t rw = 0; rw < work.w.phases; ++rw) {
        int64_t used = 0;
        work.for_steps(rh, rw, 1, [&](int64_t, int64_t unit, int64_t count, bool) {
          units_to_tile(units + unit * 16, count, y);
          y += kRightBytes;
          used = unit + count;
        });
        units += used * 16;
      }
  }
}

// ---------------------------------------------------------------- the packed band
// As conv_pack_source. pixel: bytes between two neighbours in a row.
template <class T>
void tile_conv_pack_source(const TileConvWork& work, const T* image, int64_t row, int64_t column,
                           float inverse, int8_t* y, int64_t pixel) {
  const int64_t left = least(most(-column, 0), work.packed_w);
  const int64_t end = most(least(work.w.source - column, work.packed_w), left);
  const F scale = splat(inverse);
  const bool dense = pixel == work.block_bytes;
  const auto zeros = [&](int64_t from, int64_t to) {
    for (int64_t b = 0; b < work.blocks; ++b) {
      int8_t* const first = y + b * work.block_step + from * pixel;
      if (dense)
        zero_planes(first, work.plane_bytes, (to - from) * pixel);
      else
        for (int64_t i = 0; i < to - from; ++i)
          zero_planes(first + i * pixel, work.plane_bytes, work.block_bytes);
    }
  };
  for (int64_t r = 0; r < work.packed_h; ++r, y += work.packed_w * pixel) {
    if (row + r < 0 || row + r >= work.h.source) {
      zeros(0, work.packed_w);
      continue;
    }
    zeros(0, left);
    zeros(end, work.packed_w);
    const T* from = image + ((row + r) * work.w.source + column + left) * work.source_c;
    int8_t* to = y + left * pixel;
    if (dense && work.source_c == pixel) {
      quantise_planes(from, to, work.plane_bytes, (end - left) * pixel, scale);
      continue;
    }
    for (int64_t i = left; i < end; ++i, from += work.source_c, to += pixel) {
      if (work.blocks == 1) {
        quantise_planes(from, to, work.plane_bytes, work.in, scale);
        if (work.in % 2 != 0) zero_planes(to + work.in, work.plane_bytes, 1);
      } else {
        for (int64_t b = 0; b < work.blocks; ++b)
          quantise_planes(from + b * kTileK, to + b * work.block_step, work.plane_bytes, kTileK, scale);
      }
    }
  }
}

// ---------------------------------------------------------------- multiplying
// What follows a chunk: it is added to c; the last chunk's sum goes to y instead.
template <class T, int M, int V, bool kMixed>
struct ConvCarry {
  struct Place {
    float* c;
    const float* scale;  // of its image; kMixed: of each row's
    T* y;
    const int64_t* offsets;  // kMixed: of each row, from y
    int64_t rows;            // that exist
  };
  Place tile[M];
  const float* scale_b;
  bool first;  // c is still zero, and not in memory
  bool last;   // the sum ends here
  int64_t y_step;
  int64_t lanes;
  const float* bias;

  HALFTONE_INLINE void rows(const int32_t* sums, int m, int begin, int end) const {
    const Place& at = tile[m];
    F scale[V];
    for (int v = 0; v < V; ++v) {
      scale[v] = load(scale_b + 16 * v);
      if (!kMixed) scale[v] = mul(splat(*at.scale), scale[v]);
    }
    if (last) {
      end = static_cast<int>(least(end, at.rows));
      if (lanes == 16 * V)
        return first ? finish<true, true>(sums, at, begin, end, scale)
                     : finish<false, true>(sums, at, begin, end, scale);
      return first ? finish<true, false>(sums, at, begin, end, scale)
                   : finish<false, false>(sums, at, begin, end, scale);
    }
    if (first)
      add<true>(sums, at, begin, end, scale);
    else
      add<false>(sums, at, begin, end, scale);
  }

 private:
  // Members are copied before loops: what is stored there might be these.
  template <bool kFirst>
  HALFTONE_INLINE static void add(const int32_t* sums, const Place& at, int begin, int end, const F* scale) {
    float* const c = at.c;
    const float* const scales = at.scale;
    for (int i = begin; i < end; ++i)
      for (int v = 0; v < V; ++v) {
        float* const to = c + (i * V + v) * 16;
        const F by = kMixed ? mul(splat(scales[i]), scale[v]) : scale[v];
        store(to, fma(chunk_sum(sums + v * kSumInts + 16 * i), by, kFirst ? zero_f() : load(to)));
      }
  }
  template <bool kFirst, bool kWhole>
  HALFTONE_INLINE void finish(const int32_t* sums, const Place& at, int begin, int end,
                              const F* scale) const {
    F shift[V];
    for (int v = 0; v < V; ++v) shift[v] = bias == nullptr ? zero_f() : load(bias + 16 * v);
    const float* const c = at.c;
    const float* const scales = at.scale;
    const int64_t* const offsets = at.offsets;
    T* const y = at.y;
    const int64_t step = y_step;
    const int64_t real_lanes = lanes;
    const bool shifted = bias != nullptr;
    for (int i = begin; i < end; ++i) {
      T* const to = y + (kMixed ? offsets[i] : i * step);
      for (int v = 0; v < V; ++v) {
        const F by = kMixed ? mul(splat(scales[i]), scale[v]) : scale[v];
        const F before = kFirst ? zero_f() : load(c + (i * V + v) * 16);
        F sum = fma(chunk_sum(sums + v * kSumInts + 16 * i), by, before);
        if (shifted) sum = product::add(sum, shift[v]);
        if (kWhole || real_lanes >= 16 * v + 16)
          narrow(to + 16 * v, sum);
        else
          narrow(to + 16 * v, sum, real_lanes - 16 * v);
      }
    }
  }
};

// One phase of a band.
struct TilePhase {
  int64_t steps;   // of s.steps
  int64_t tiles;   // of s.places
  int64_t height;  // of all tiles
  int64_t y_step;
};

// count: of mixed images, of which `phase` has the first; image_scales: theirs.
inline TilePhase tile_conv_phase(const TileConvWork& work, const TileConvScratch& s, const PhaseRows& phase,
                                 int64_t count, const float* image_scales) {
  TilePhase found{0, 0, 0, phase.target_step()};
  work.for_steps(phase.rh, phase.rw, count, [&](int64_t offset, int64_t, int64_t, bool flush) {
    s.steps[found.steps++] = {static_cast<int32_t>(offset), flush ? 1 : 0};
  });
  count_steps_left(s.steps, found.steps);
  const int64_t columns = phase.j1 - phase.j0;
  if (work.mixed) {
    const int64_t run = work.run(columns, count);
    found.height = ceil_div(run, ceil_div(run, 16));
    for (int64_t e = 0; e < run; ++e) {
      s.run_scales[e] = image_scales[e % count];
      s.run_targets[e] = e % count * work.h.target * work.w.target * work.target_c + e / count * found.y_step;
    }
    for (int64_t row = 0; row < phase.rows(); ++row)
      for (int64_t r = 0; r < work.runs(columns); ++r)
        for (int64_t e = 0; e < run; e += found.height)
          s.places[found.tiles++] = {(phase.source(row, r) / work.units * count + e) * work.block_bytes,
                                     phase.target(row, r), static_cast<int32_t>(e),
                                     static_cast<int32_t>(least(found.height, run - e))};
    return found;
  }
  found.height = ceil_div(columns, ceil_div(columns, 16));
  for (int64_t row = 0; row < phase.rows(); ++row)
    for (int64_t j = 0; j < columns; j += found.height)
      s.places[found.tiles++] = {phase.source(row, j) / work.units * work.block_bytes, phase.target(row, j),
                                 static_cast<int32_t>(phase.image(row)),
                                 static_cast<int32_t>(least(found.height, columns - j))};
  return found;
}

// Its outputs in V vectors of a group. tiles: the first vector's, of this phase.
template <class T, int V, bool kMixed>
void tile_conv_strips(const TileConvWork& work, const TileConvScratch& s, const TilePhase& phase,
                      int64_t group, const int8_t* tiles, const float* scales, const float* bias,
                      int64_t real_lanes, T* target) {
  constexpr int M = kSumTiles / V;
  const int64_t steps = phase.steps;
  if (steps == 0) {  // no tap meets this phase
    alignas(64) static constexpr float kZeros[16 * 16 * V] = {};
    for (int64_t i = 0; i < phase.tiles; ++i) {
      const TilePlace& place = s.places[i];
      T* const y = target + place.target;
      if (!kMixed) {
        finish_rows(kZeros, V, place.rows, y, phase.y_step, real_lanes, bias);
        continue;
      }
      for (int64_t row = 0; row < place.rows; ++row)
        finish_rows(kZeros, V, 1, y + s.run_targets[place.image + row], 0, real_lanes, bias);
    }
    return;
  }
  // As many steps of weights as stay in the first-level cache while the tiles pass over them.
  constexpr int64_t kCachedSteps = (16 << 10) / (V * kRightBytes);
  const int64_t tile_sums = phase.height * 16 * V;
  using Carry = ConvCarry<T, M, V, kMixed>;
  Carry common{};
  common.scale_b = scales;
  common.y_step = phase.y_step;
  common.lanes = real_lanes;
  common.bias = bias;
  Pipe<M, V, Carry> pipe(static_cast<int>(phase.height), common);
  const int8_t* const planes = s.planes(work, group);
  const float* const pixel_scales = kMixed ? s.run_scales : s.scales(work, group);
  Strip<M> t{};
  t.a_row = (kMixed ? 1 : work.w.step) * work.block_bytes;
  t.a_plane = work.plane_bytes;
  t.b_vector = work.vector_bytes();
  // All of K in one pass: no later one asks for these sums, so they needn't leave the first-level cache.
  const bool once = steps <= kCachedSteps;
  for (int64_t near = 0; near < phase.tiles; near += work.near_tiles) {
    const int64_t near_end = least(near + work.near_tiles, phase.tiles);
    t.b = tiles;
    for (int64_t begin = 0; begin < steps;) {
      int64_t end = begin;
      while (end < steps && end - begin < kCachedSteps) end += s.steps[end].left;
      t.steps = s.steps + begin;
      t.step_count = end - begin;
      for (int64_t first = near; first < near_end; first += M) {
        // The last strip may have fewer tiles: the rest repeats one of them, and is not used.
        const auto place = [&](int64_t m) -> const TilePlace& {
          return s.places[least(first + m, near_end - 1)];
        };
        for (int64_t m = 0; m < M; ++m) t.a[m] = planes + place(m).source;
        int64_t done = begin;
        pipe.run(t, [&](Carry& carry) {
          carry.first = done == 0;
          done += s.steps[done].left;
          carry.last = done == steps;
          for (int64_t m = 0; m < M; ++m) {
            carry.tile[m].c = s.sums + (once ? m : first - near + m) * tile_sums;
            carry.tile[m].scale = pixel_scales + place(m).image;
            carry.tile[m].y = target + place(m).target;
            carry.tile[m].offsets = s.run_targets + place(m).image;
            carry.tile[m].rows = first + m < near_end ? place(m).rows : 0;
          }
        });
      }
      t.b += (end - begin) * kRightBytes;
      begin = end;
    }
  }
  pipe.drain();
}

// Some grid rows and columns of some images.
struct TileBand {
  int64_t group, image, images;
  int64_t i0, i1, j0, j1;
};

template <class T>
void tile_conv_pack_band(const TileConvWork& work, const ProductOperands& x, const TileConvScratch& s,
                         const TileBand& band) {
  for (int64_t n = 0; n < band.images; ++n) {
    const int64_t image = band.image + n;
    const int64_t at = image % work.together;
    const BlockScale scale = work.scales_first() ? s.images[image * work.groups + band.group]
                                                 : conv_image_scale<T>(work, x, image, band.group);
    s.scales(work, band.group)[at] = scale.scale;
    const T* const source = static_cast<const T*>(x.a) +
                            image * work.h.source * work.w.source * work.source_c + band.group * work.in;
    tile_conv_pack_source<T>(
        work, source, band.i0 * work.h.step + work.h.origin, band.j0 * work.w.step + work.w.origin,
        scale.inverse, s.planes(work, band.group) + at * (work.mixed ? 1 : work.pixels()) * work.block_bytes,
        work.mixed_images(band.images) * work.block_bytes);
  }
}

// The vectors [vector, vector_end) of a band's outputs.
template <class T>
void tile_conv_multiply(const TileConvWork& work, const ProductOperands& x, const TileConvScratch& s,
                        const TileBand& band, int64_t vector, int64_t vector_end) {
  T* const target = static_cast<T*>(x.y) + band.image * work.h.target * work.w.target * work.target_c +
                    band.group * work.out;
  const T* const bias = x.bias == nullptr ? nullptr : static_cast<const T*>(x.bias) + band.group * work.out;

  int64_t first_step = 0;
  for (int64_t rh = 0; rh < work.h.phases; ++rh)
    for (int64_t rw = 0; rw < work.w.phases; ++rw) {
      const PhaseRows phase{work,
                            rh,
                            rw,
                            band.i0,
                            least(band.i1, work.h.count(rh)),
                            band.j0,
                            least(band.j1, work.w.count(rw)),
                            work.mixed ? 1 : band.images};
      const int64_t phase_first = first_step;
      first_step += work.for_steps(rh, rw, 1, [](int64_t, int64_t, int64_t, bool) {});
      if (phase.i0 >= phase.i1 || phase.j0 >= phase.j1) continue;
      const TilePhase here =
          tile_conv_phase(work, s, phase, work.mixed_images(band.images), s.scales(work, band.group));
      for (int64_t v = vector; v < vector_end; v += kMostLanes) {
        const int64_t width = least(kMostLanes, work.vectors - v);
        const int64_t real_lanes = least(width * 16, work.out - v * 16);
        alignas(64) float lanes[16 * kMostLanes];
        const float* const lane_bias =
            bias_lanes(bias == nullptr ? nullptr : bias + v * 16, real_lanes, lanes);
        const int8_t* const tiles = s.vector_tiles(work, band.group, v) + phase_first * kRightBytes;
        const float* const scales = s.weight_scales + (band.group * work.vectors + v) * 16;
        const auto strips = width == 2
                                ? (work.mixed ? tile_conv_strips<T, 2, true> : tile_conv_strips<T, 2, false>)
                                : (work.mixed ? tile_conv_strips<T, 1, true> : tile_conv_strips<T, 1, false>);
        strips(work, s, here, band.group, tiles, scales, lane_bias, real_lanes, target + v * 16);
      }
    }
}

// A chunk of the last stage.
template <class T>
void tile_conv_band(const TileConvWork& work, const ProductOperands& x, const TileConvScratch& s,
                    int64_t chunk) {
  const int64_t which = chunk % work.bands();
  const int64_t image = chunk / work.bands() / work.groups * work.together;
  const int64_t i0 = which / work.bands_w * work.band_h;
  const int64_t j0 = which % work.bands_w * work.band_w;
  const TileBand band{
      chunk / work.bands() % work.groups,   image, least(work.together, work.images - image), i0,
      least(i0 + work.band_h, work.h.grid), j0,    least(j0 + work.band_w, work.w.grid)};
  tile_conv_pack_band<T>(work, x, s, band);
  tile_conv_multiply<T>(work, x, s, band, 0, work.vectors);
}

// pixels_first: an image and group, then a strip of a group.
template <class T>
void tile_conv_pixels_first(const TileConvWork& work, const ProductOperands& x, const TileConvScratch& s,
                            int stage, int64_t chunk) {
  if (stage == 0) {
    tile_conv_pack_band<T>(work, x, s,
                           {chunk % work.groups, chunk / work.groups, 1, 0, work.h.grid, 0, work.w.grid});
    return;
  }
  tile_conv_pack_weights<T>(work, x, s, chunk);
  const int64_t vector = chunk % work.strips() * kMostLanes;
  tile_conv_multiply<T>(work, x, s, {chunk / work.strips(), 0, work.images, 0, work.h.grid, 0, work.w.grid},
                        vector, least(vector + kMostLanes, work.vectors));
}

// ---------------------------------------------------------------- plan and run
inline void tile_conv_plan(ProductPlan& plan) {
  conv_plan(plan);
  const auto work = keep_work<TileConvWork>(plan);
  plan.scratch_bytes = TileConvScratch(work, nullptr, 0, plan.threads).bytes;
  if (!work.pixels_first) {
    plan.chunks[0] = work.groups * ceil_div(work.vectors, work.packed_vectors);
    return;
  }
  plan.stages = 2;
  plan.chunks[0] = work.images * work.groups;
  plan.chunks[1] = work.groups * work.strips();
}

inline Written tile_conv_written(const ProductPlan& plan, int64_t chunk) {
  const auto work = work_of<TileConvWork>(plan);
  if (!work.pixels_first) return conv_written(work, chunk);
  const int64_t first = chunk % work.strips() * kMostLanes * 16;
  return {0, work.images * work.h.target * work.w.target, 0, 1, least(kMostLanes * 16, work.out - first)};
}

template <class T>
void tile_conv_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  const auto work = work_of<TileConvWork>(plan);
  const TileConvScratch s(work, x.scratch, worker, plan.threads);
  if (work.pixels_first)
    tile_conv_pixels_first<T>(work, x, s, stage, chunk);
  else if (stage == 0)
    tile_conv_pack_weights<T>(work, x, s, chunk);
  else if (stage + 1 < plan.stages)
    s.images[chunk] = conv_image_scale<T>(work, x, chunk / work.groups, chunk % work.groups);
  else
    tile_conv_band<T>(work, x, s, chunk);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
