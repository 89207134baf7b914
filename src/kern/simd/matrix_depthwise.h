// Depthwise convolutions and their two gradients: one input channel meets one output channel, nothing is shared between channels, so the right
// operand of a tile doesn't exist. Memory is what counts: a block of channels is taken through an image row by row, and the rows of the source that a kernel
// reaches lie widened, with their padding, in a ring that stays in the first-level cache; each element is read and widened once.
//
// Always `wide`. Stages: forward and input gradient: widen the weights; a block of channels of an image. Weight gradient: a block of channels of a
// chain of images; add the chains and store.
#pragma once

#include "kern/lane/choose.h"
#include "kern/simd/matrix_conv.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// As many vectors of channels as fill a cache line of fp16, where there are registers for them.
constexpr int kDepthVectors = kMaxVectors > 1 ? 2 : 1;
// Pixels of a tile: their sums, the weights and a load fit the registers.
constexpr int kDepthPixels = kMaxVectors > 1 ? 8 : 4;
// Taps whose sums a weight gradient keeps in registers.
constexpr int kDepthTaps = kMaxVectors > 1 ? 9 : 3;

inline bool is_depthwise(const Product& p) {
  return p.kind != ProductKind::kMatMul && p.conv.group > 1 && p.conv.group == p.conv.c &&
         p.conv.group == p.conv.o;
}

// Blocks of channels; the last may be narrower.
struct ChannelBlocks {
  int64_t channels;
  int64_t count() const { return ceil_div(channels, kDepthVectors * 16); }
  int64_t first(int64_t block) const { return block * kDepthVectors * 16; }
  int64_t channels_of(int64_t block) const { return least(channels - first(block), kDepthVectors * 16); }
  int64_t padded() const { return round_up(channels, 16); }
};

// Rows of a source image, a block of channels wide, widened and padded with zeros left and right: [slot][column][V * 16].
template <class T, int V>
struct RowRing {
  const T* image;  // of the block's first channel
  int64_t height, width, channels;
  int64_t lanes;                    // channels of the block that exist
  int64_t first_column, columns;    // of a stored row, in the image's columns
  int64_t rows;                     // slots
  int64_t origin;                   // the row that lies in slot 0
  float* memory;
  int64_t next;   // the first row that isn't there yet
  bool prefetch;  // fetch whole rows ahead: a block reads a part of each pixel, which the processor doesn't foresee

  int64_t slot(int64_t r) const { return (r - origin) % rows; }
  // Row r + more, 0 <= more < rows, when r lies in `slot`.
  const float* row(int64_t slot, int64_t more) const {
    const int64_t at = slot + more;
    return memory + (at < rows ? at : at - rows) * columns * V * 16;
  }
  // Makes the rows [first, last] present, `rows` of them at most; rows before are not needed again.
  void reach(int64_t first, int64_t last) {
    if (next < first) next = first;
    for (; next <= last; ++next) load_row(next, memory + slot(next) * columns * V * 16);
  }
  void load_row(int64_t r, float* y) const {
    if (r < 0 || r >= height) {
      zero_units(reinterpret_cast<Unit*>(y), columns * V * 16);
      return;
    }
    const int64_t left = least(most(-first_column, 0), columns);
    const int64_t end = most(least(width - first_column, columns), left);
    zero_units(reinterpret_cast<Unit*>(y), left * V * 16);
    constexpr int64_t kAhead = 2;
    if (prefetch && r + kAhead < height) {
      const char* const ahead = reinterpret_cast<const char*>(image + (r + kAhead) * width * channels);
      const int64_t bytes = width * channels * static_cast<int64_t>(sizeof(T));
      for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i, 0, 2);
    }
    const T* x = image + (r * width + first_column + left) * channels;
    float* to = y + left * V * 16;
    if (lanes == V * 16) {
      for (int64_t c = left; c < end; ++c, x += channels, to += V * 16)
        HALFTONE_UNROLL
        for (int v = 0; v < V; ++v) store(to + 16 * v, widen(x + 16 * v));
    } else {
      for (int64_t c = left; c < end; ++c, x += channels, to += V * 16)
        for (int v = 0; v < V; ++v) {
          const int64_t n = lanes - 16 * v;
          store(to + 16 * v, n >= 16 ? widen(x + 16 * v) : widen(x + 16 * v, n));
        }
    }
    zero_units(reinterpret_cast<Unit*>(y + end * V * 16), (columns - end) * V * 16);
  }
};

// The first n lanes of V vectors.
template <int V, class T>
HALFTONE_INLINE void narrow_lanes(T* y, const F* x, int64_t n) {
  HALFTONE_UNROLL
  for (int v = 0; v < V; ++v) {
    if (n >= 16 * (v + 1))
      narrow(y + 16 * v, x[v]);
    else if (n > 16 * v)
      narrow(y + 16 * v, x[v], n - 16 * v);
  }
}

// ---------------------------------------------------------------- forward and input gradient
struct DepthwiseWork {
  bool backward;
  int64_t images, taps;
  Axis h, w;
  ChannelBlocks blocks;
  int64_t band, bands;  // grid rows of a chunk

  DepthwiseWork(const Product& p, int threads)
      : backward(p.kind == ProductKind::kConvGradInput),
        images(p.conv.n),
        taps(p.conv.kh * p.conv.kw),
        h(backward, backward ? p.conv.oh : p.conv.h, backward ? p.conv.h : p.conv.oh, p.conv.kh, p.conv.sh,
          p.conv.dh, p.conv.top),
        w(backward, backward ? p.conv.ow : p.conv.w, backward ? p.conv.w : p.conv.ow, p.conv.kw, p.conv.sw,
          p.conv.dw, p.conv.left),
        blocks{p.conv.group},
        band(0),
        bands(0) {
    // All blocks of channels pass over a band of rows, which comes from afar once and stays in the second-level cache.
    constexpr int64_t kBandBytes = 512 << 10;
    const int64_t row_bytes = (w.source * h.step + w.target * h.phases) * p.conv.c * size_bytes(p.dtype);
    bands = least(ceil_div(h.grid * row_bytes, kBandBytes), h.grid);
    if (threads > 1) bands = most(bands, least(ceil_div(4 * threads, images * blocks.count()), h.grid));
    band = ceil_div(h.grid, bands);
    bands = ceil_div(h.grid, band);
  }
  int64_t columns() const { return (w.grid - 1) * w.step + w.reach + 1; }
  int64_t ring_rows() const { return h.reach + 1; }
  // How many taps meet the outputs of a phase.
  int64_t phase_taps(int64_t rh, int64_t rw) const { return valid_taps(h, rh) * valid_taps(w, rw); }
  static int64_t valid_taps(const Axis& axis, int64_t r) {
    if (axis.phases == 1) return axis.taps;
    int64_t n = 0;
    for (int64_t k = 0; k < axis.taps; ++k) n += axis.valid(r, k) ? 1 : 0;
    return n;
  }
};

// Where a tap of a phase reads, relative to the first source row and column of an output, and where its weights lie.
struct DepthTap {
  int64_t row, column, weights;
};

struct DepthwiseScratch {
  float* weights;      // [tap][channel]
  float* ring;         // this worker's
  DepthTap* taps;      // all phases' one after the other
  const float** from;  // where each tap of a phase reads now
  int64_t bytes;
  DepthwiseScratch(const DepthwiseWork& work, std::byte* base, int worker, int threads) {
    Carver c{base};
    weights = c.take<float>(work.taps * work.blocks.padded() + 16);
    for (int i = 0; i < threads; ++i) {
      float* const ring_here = c.take<float>(work.ring_rows() * work.columns() * kDepthVectors * 16);
      DepthTap* const taps_here = c.take<DepthTap>(work.taps);
      const float** const from_here = c.take<const float*>(work.taps);
      if (i != worker) continue;
      ring = ring_here;
      taps = taps_here;
      from = from_here;
    }
    bytes = c.used;
  }
};

// M neighbouring outputs, V vectors of channels: a chain over the taps. x: each tap's first source; step: floats from one output's source to the next.
template <int M, int V>
HALFTONE_INLINE void depthwise_outputs(const float* const* x, int64_t step, const DepthTap* tap, int64_t taps,
                                       const float* weights, F (&acc)[M][V]) {
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m)
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) acc[m][v] = zero_f();
  for (int64_t t = 0; t < taps; ++t) {
    const float* const source = x[t];
    F weight[V];
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) weight[v] = load(weights + tap[t].weights + 16 * v);
    HALFTONE_UNROLL
    for (int m = 0; m < M; ++m)
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) acc[m][v] = fma(load(source + m * step + 16 * v), weight[v], acc[m][v]);
  }
}

template <class T, int V>
void depthwise_block(const DepthwiseWork& work, const ProductOperands& operands, const DepthwiseScratch& s,
                     int64_t image, int64_t block, int64_t i0, int64_t i1) {
  const int64_t channels = work.blocks.channels;
  const int64_t c0 = work.blocks.first(block);
  const int64_t lanes = work.blocks.channels_of(block);
  const int64_t first_row = work.h.origin + i0 * work.h.step;
  RowRing<T, V> ring{static_cast<const T*>(operands.a) + image * work.h.source * work.w.source * channels + c0,
                     work.h.source,
                     work.w.source,
                     channels,
                     lanes,
                     work.w.origin,
                     work.columns(),
                     work.ring_rows(),
                     first_row,
                     s.ring,
                     first_row,
                     block == 0};
  T* const target = static_cast<T*>(operands.y) + image * work.h.target * work.w.target * channels + c0;
  F bias[V];
  const bool has_bias = operands.bias != nullptr;
  for (int v = 0; v < V; ++v) {
    const T* const b = static_cast<const T*>(operands.bias) + c0 + 16 * v;
    bias[v] = !has_bias ? zero_f() : lanes >= 16 * (v + 1) ? widen(b) : widen(b, lanes - 16 * v);
  }
  DepthTap* end = s.taps;
  for (int64_t rh = 0; rh < work.h.phases; ++rh)
    for (int64_t rw = 0; rw < work.w.phases; ++rw)
      for_taps(work, rh, rw, 0, [&](int64_t kh, int64_t kw, int64_t) {
        *end++ = {work.h.base(rh, kh) - work.h.origin, (work.w.base(rw, kw) - work.w.origin) * V * 16,
                  (kh * work.w.taps + kw) * work.blocks.padded() + c0};
      });
  const int64_t step = work.w.step * V * 16;
  const int64_t y_step = work.w.phases * channels;
  const float** const from = s.from;
  for (int64_t i = i0; i < i1; ++i) {
    const int64_t first = work.h.origin + i * work.h.step;
    ring.reach(first, first + work.h.reach);
    const int64_t slot = ring.slot(first);
    const DepthTap* tap = s.taps;
    for (int64_t rh = 0; rh < work.h.phases; ++rh)
      for (int64_t rw = 0; rw < work.w.phases; ++rw) {
        const int64_t taps = work.phase_taps(rh, rw);
        if (i < work.h.count(rh)) {
          for (int64_t t = 0; t < taps; ++t) from[t] = ring.row(slot, tap[t].row) + tap[t].column;
          T* y = target +
                 ((work.h.first(rh) + work.h.phases * i) * work.w.target + work.w.first(rw)) * channels;
          const auto outputs = [&](auto count, auto fixed_step) {
            constexpr int kCount = decltype(count)::value;
            F acc[kCount][V];
            depthwise_outputs<kCount, V>(from, decltype(fixed_step)::value ? V * 16 : step, tap, taps, s.weights,
                                         acc);
            HALFTONE_UNROLL
            for (int m = 0; m < kCount; ++m) {
              HALFTONE_UNROLL
              for (int v = 0; v < V; ++v)
                if (has_bias) acc[m][v] = add(acc[m][v], bias[v]);
              narrow_lanes<V>(y + m * y_step, acc[m], lanes);
            }
            y += kCount * y_step;
            for (int64_t t = 0; t < taps; ++t) from[t] += kCount * step;
          };
          const int64_t n = work.w.count(rw);
          int64_t j = 0;
          if (work.w.step == 1) {
            for (; j + kDepthPixels <= n; j += kDepthPixels) outputs(Constant<kDepthPixels>{}, Constant<true>{});
          } else {
            for (; j + kDepthPixels <= n; j += kDepthPixels) outputs(Constant<kDepthPixels>{}, Constant<false>{});
          }
          for (; j + 2 <= n; j += 2) outputs(Constant<2>{}, Constant<false>{});
          for (; j < n; ++j) outputs(Constant<1>{}, Constant<false>{});
        }
        tap += taps;
      }
  }
}

// ---------------------------------------------------------------- weight gradient
struct DepthwiseGradWork {
  ConvGeometry g;
  ChannelBlocks blocks;
  int64_t taps;
  int64_t chain_images, chains, image_blocks;
  explicit DepthwiseGradWork(const Product& p)
      : g(p.conv),
        blocks{p.conv.group},
        taps(p.conv.kh * p.conv.kw),
        chain_images(p.block_images),
        chains(p.image_groups),
        image_blocks(ceil_div(p.conv.n, p.block_images)) {}
  int64_t columns() const { return (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1; }
  int64_t ring_rows() const { return (g.kh - 1) * g.dh + 1; }
};

struct DepthwiseGradScratch {
  float* chains;  // [chain][tap][channel]
  float* ring;    // this worker's
  int64_t bytes;
  DepthwiseGradScratch(const DepthwiseGradWork& work, std::byte* base, int worker, int threads) {
    Carver c{base};
    chains = c.take<float>(work.chains * work.taps * work.blocks.padded() + 16);
    for (int i = 0; i < threads; ++i) {
      float* const here = c.take<float>(work.ring_rows() * work.columns() * kDepthVectors * 16);
      if (i == worker) ring = here;
    }
    bytes = c.used;
  }
};

// Adds a row of output pixels to the sums of N taps. x: each tap's source of the row's first pixel; step: floats to the next one's.
template <class T, int N, int V>
HALFTONE_INLINE void depthwise_grad_row(const float* const* x, int64_t step, const T* dy, int64_t dy_step, int64_t n,
                                        int64_t lanes, float* sums, int64_t sums_step) {
  F acc[N][V];
  const float* source[N];
  HALFTONE_UNROLL
  for (int t = 0; t < N; ++t) {
    source[t] = x[t];
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) acc[t][v] = load(sums + t * sums_step + 16 * v);
  }
  const auto pixel = [&](int64_t offset, const F* d) {
    HALFTONE_UNROLL
    for (int t = 0; t < N; ++t)
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) acc[t][v] = fma(load(source[t] + offset + 16 * v), d[v], acc[t][v]);
  };
  F d[V];
  int64_t offset = 0;
  if (lanes == V * 16) {
    for (int64_t j = 0; j < n; ++j, dy += dy_step, offset += step) {
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) d[v] = widen(dy + 16 * v);
      pixel(offset, d);
    }
  } else {
    for (int64_t j = 0; j < n; ++j, dy += dy_step, offset += step) {
      for (int v = 0; v < V; ++v)
        d[v] = lanes >= 16 * (v + 1) ? widen(dy + 16 * v) : widen(dy + 16 * v, lanes - 16 * v);
      pixel(offset, d);
    }
  }
  HALFTONE_UNROLL
  for (int t = 0; t < N; ++t)
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) store(sums + t * sums_step + 16 * v, acc[t][v]);
}

template <class T, int V>
void depthwise_grad_chain(const DepthwiseGradWork& work, const ProductOperands& operands,
                          const DepthwiseGradScratch& s, int64_t chain, int64_t block) {
  const ConvGeometry& g = work.g;
  const int64_t c0 = work.blocks.first(block);
  const int64_t lanes = work.blocks.channels_of(block);
  const int64_t sums_step = work.blocks.padded();
  float* const sums = s.chains + chain * work.taps * sums_step + c0;
  for (int64_t t = 0; t < work.taps; ++t)
    zero_units(reinterpret_cast<Unit*>(sums + t * sums_step), V * 16);
  const int64_t image_end = least((chain + 1) * work.image_blocks / work.chains * work.chain_images, g.n);
  for (int64_t image = chain * work.image_blocks / work.chains * work.chain_images; image < image_end; ++image) {
    RowRing<T, V> ring{static_cast<const T*>(operands.a) + image * g.h * g.w * g.c + c0,
                       g.h,
                       g.w,
                       g.c,
                       lanes,
                       -g.left,
                       work.columns(),
                       work.ring_rows(),
                       -g.top,
                       s.ring,
                       -g.top,
                       block == 0};
    const T* const dy = static_cast<const T*>(operands.b) + image * g.oh * g.ow * g.o + c0;
    for (int64_t oh = 0; oh < g.oh; ++oh) {
      const int64_t first = oh * g.sh - g.top;
      ring.reach(first, first + work.ring_rows() - 1);
      const int64_t slot = ring.slot(first);
      for (int64_t tap = 0; tap < work.taps;) {
        const float* x[kDepthTaps];
        const int64_t n = work.taps - tap >= kDepthTaps ? kDepthTaps : work.taps - tap >= 3 ? 3 : 1;
        for (int64_t t = 0; t < n; ++t)
          x[t] = ring.row(slot, (tap + t) / g.kw * g.dh) + (tap + t) % g.kw * g.dw * V * 16;
        const auto row = [&](auto count) {
          depthwise_grad_row<T, decltype(count)::value, V>(x, g.sw * V * 16, dy + oh * g.ow * g.o, g.o, g.ow, lanes,
                                                           sums + tap * sums_step, sums_step);
        };
        if (n == kDepthTaps)
          row(Constant<kDepthTaps>{});
        else if (n == 3)
          row(Constant<3>{});
        else
          row(Constant<1>{});
        tap += n;
      }
    }
  }
}

// 16 channels from all chains.
template <class T>
void depthwise_grad_store(const DepthwiseGradWork& work, const ProductOperands& operands,
                          const DepthwiseGradScratch& s, int64_t vector) {
  const int64_t channels = least(16, work.blocks.channels - vector * 16);
  const int64_t step = work.blocks.padded();
  const float* const sums = s.chains + vector * 16;
  T* const y = static_cast<T*>(operands.y) + vector * 16 * work.taps;
  alignas(64) Unit in[256];
  alignas(64) Unit out[256];
  zero_units(in, 256);
  for (int64_t tap = 0; tap < work.taps; tap += 16) {
    const int64_t n = least(16, work.taps - tap);
    for (int64_t t = 0; t < n; ++t) {
      F sum = load(sums + (tap + t) * step);
      for (int64_t q = 1; q < work.chains; ++q) sum = add(sum, load(sums + (q * work.taps + tap + t) * step));
      store(reinterpret_cast<float*>(in + 16 * t), sum);
    }
    transpose(in, out, 16);
    for (int64_t l = 0; l < channels; ++l)
      narrow(y + l * work.taps + tap, load(reinterpret_cast<const float*>(out + 16 * l)), n);
  }
}

// ---------------------------------------------------------------- plan and run
inline void depthwise_plan(ProductPlan& plan) {
  plan.stages = 2;
  if (plan.product.kind == ProductKind::kConvGradWeight) {
    const DepthwiseGradWork work(plan.product);
    plan.chunks[0] = work.chains * work.blocks.count();
    plan.chunks[1] = ceil_div(work.blocks.channels, 16);
    plan.scratch_bytes = DepthwiseGradScratch(work, nullptr, 0, plan.threads).bytes;
    return;
  }
  const DepthwiseWork work(plan.product, plan.threads);
  plan.chunks[0] = ceil_div(work.blocks.channels, 16);
  plan.chunks[1] = work.images * work.blocks.count() * work.bands;
  plan.scratch_bytes = DepthwiseScratch(work, nullptr, 0, plan.threads).bytes;
}

template <class T>
void depthwise_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  if (plan.product.kind == ProductKind::kConvGradWeight) {
    const DepthwiseGradWork work(plan.product);
    const DepthwiseGradScratch s(work, x.scratch, worker, plan.threads);
    if (stage == 1) return depthwise_grad_store<T>(work, x, s, chunk);
    const int64_t block = chunk % work.blocks.count();
    const int64_t chain = chunk / work.blocks.count();
    if (work.blocks.channels_of(block) > 16 || kDepthVectors == 1)
      depthwise_grad_chain<T, kDepthVectors>(work, x, s, chain, block);
    else
      depthwise_grad_chain<T, 1>(work, x, s, chain, block);
    return;
  }
  const DepthwiseWork work(plan.product, plan.threads);
  const DepthwiseScratch s(work, x.scratch, worker, plan.threads);
  if (stage == 0) {
    const int64_t lanes = least(16, work.blocks.channels - chunk * 16);
    pack_transposed<T, false>(static_cast<const T*>(x.b) + chunk * 16 * work.taps, work.taps, lanes,
                              reinterpret_cast<Unit*>(s.weights) + chunk * 16, work.blocks.padded(), work.taps,
                              nullptr);
    return;
  }
  // Neighbouring blocks share cache lines and pages: they follow each other.
  const int64_t block = chunk % work.blocks.count();
  const int64_t band = chunk / work.blocks.count() % work.bands;
  const int64_t image = chunk / work.blocks.count() / work.bands;
  const int64_t i0 = band * work.band;
  const int64_t i1 = least(i0 + work.band, work.h.grid);
  if (work.blocks.channels_of(block) > 16 || kDepthVectors == 1)
    depthwise_block<T, kDepthVectors>(work, x, s, image, block, i0, i1);
  else
    depthwise_block<T, 1>(work, x, s, image, block, i0, i1);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
