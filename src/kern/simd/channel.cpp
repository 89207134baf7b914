#include "kern/lane/table.h"
#include "kern/simd/columns.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// body(i, c, full, count) for the elements i .. i+count-1 of a rows x cols matrix, which belong to channels c
// .. c+count-1; prepare(c, full, count) gives what body wants of the channels: kept in registers over all
// rows when there are few.
template <class Prepare, class Body>
HALFTONE_INLINE void for_channels(int64_t rows, int64_t cols, Prepare&& prepare, Body&& body) {
  const auto hoisted = [&](auto vectors) {
    constexpr int kVectors = vectors.value;
    decltype(prepare(0, Constant<true>{}, kLanes)) channel[kVectors];
    for (int v = 0; v < kVectors; ++v) channel[v] = prepare(v * kLanes, Constant<true>{}, kLanes);
    for (int64_t i = 0; i < rows * kVectors * kLanes; i += kVectors * kLanes)
      for (int v = 0; v < kVectors; ++v) body(i + v * kLanes, channel[v], Constant<true>{}, kLanes);
  };
  if (cols == kLanes) return hoisted(Constant<1>{});
  if (cols == 2 * kLanes) return hoisted(Constant<2>{});
  if (HALFTONE_KERN_VECTOR == 512 && cols == 4 * kLanes) return hoisted(Constant<4>{});
  for (int64_t r = 0; r < rows; ++r)
    for_vectors(cols, [&](int64_t c, auto full, int64_t count) {
      body(r * cols + c, prepare(c, full, count), full, count);
    });
}

}  // namespace

void squared_deviation(const SquaredDeviationArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    const float* mean = static_cast<const float*>(a.mean);
    float* const out[1] = {static_cast<float*>(a.out)};
    column_sums<1>(
        a.rows, a.cols, a.accumulate, out, [&](int64_t r, int64_t c, auto full, int64_t count, auto& sums) {
          const F32 d = load_part(x + r * a.cols + c, full, count) - load_part(mean + c, full, count);
          sums[0] = fma(d, d, sums[0]);
        });
  });
  if (!done) ref_fma::kernels().squared_deviation(a);
}

void channel_affine(const ChannelAffineArgs& a) noexcept {
  struct Channel {
    F32 scale, shift;
  };
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    const float* scale = static_cast<const float*>(a.scale);
    const float* shift = static_cast<const float*>(a.shift);
    T* y = static_cast<T*>(a.y);
    for_channels(
        a.rows, a.cols,
        [&](int64_t c, auto full, int64_t count) {
          return Channel{load_part(scale + c, full, count), load_part(shift + c, full, count)};
        },
        [&](int64_t i, const Channel& channel, auto full, int64_t count) {
          store_part(y + i, fma(load_part(x + i, full, count), channel.scale, channel.shift), full, count);
        });
  });
  if (!done) ref_fma::kernels().channel_affine(a);
}

void channel_grad_sums(const ChannelGradSumsArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* dy = static_cast<const T*>(a.dy);
    const T* x = static_cast<const T*>(a.x);
    const float* mean = static_cast<const float*>(a.mean);
    float* const out[2] = {static_cast<float*>(a.sum_dy), static_cast<float*>(a.sum_dyx)};
    column_sums<2>(
        a.rows, a.cols, a.accumulate, out, [&](int64_t r, int64_t c, auto full, int64_t count, auto& sums) {
          const F32 g = load_part(dy + r * a.cols + c, full, count);
          const F32 d = load_part(x + r * a.cols + c, full, count) - load_part(mean + c, full, count);
          sums[0] = sums[0] + g;
          sums[1] = fma(g, d, sums[1]);
        });
  });
  if (!done) ref_fma::kernels().channel_grad_sums(a);
}

void channel_affine_pair(const ChannelAffinePairArgs& args) noexcept {
  struct Channel {
    F32 a, b, shift;
  };
  const bool done = choose_storage(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* dy = static_cast<const T*>(args.dy);
    const T* x = static_cast<const T*>(args.x);
    const float* a = static_cast<const float*>(args.a);
    const float* b = static_cast<const float*>(args.b);
    const float* shift = static_cast<const float*>(args.shift);
    T* dx = static_cast<T*>(args.dx);
    for_channels(
        args.rows, args.cols,
        [&](int64_t c, auto full, int64_t count) {
          return Channel{load_part(a + c, full, count), load_part(b + c, full, count),
                         load_part(shift + c, full, count)};
        },
        [&](int64_t i, const Channel& channel, auto full, int64_t count) {
          const F32 inner = fma(load_part(x + i, full, count), channel.b, channel.shift);
          store_part(dx + i, fma(load_part(dy + i, full, count), channel.a, inner), full, count);
        });
  });
  if (!done) ref_fma::kernels().channel_affine_pair(args);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
