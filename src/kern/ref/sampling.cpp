#include "kern/sampling.h"

#include "kern/lane/grid.h"
#include "kern/lane/math.h"
#include "kern/lane/table.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <class From, class To>
void sum_rows(const WeightedRowsArgs& a) {
  using R = Register<From>;
  const From* x = static_cast<const From*>(a.x);
  To* y = static_cast<To*>(a.y);
  const R* weights = static_cast<const R*>(a.weights);
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t first = a.offsets[r];
    const int64_t last = a.offsets[r + 1];
    for (int64_t i = 0; i < a.inner; ++i) {
      R sum = R(0);
      if (first < last) sum = weights[first] * load(x + a.indices[first] * a.inner + i);
      for (int64_t k = first + 1; k < last; ++k)
        sum = fma(weights[k], load(x + a.indices[k] * a.inner + i), sum);
      store(y + r * a.inner + i, sum);
    }
  }
}

}  // namespace

void weighted_rows(const WeightedRowsArgs& a) noexcept {
  with_storage(a.from, [&](auto type) {
    using From = typename decltype(type)::type;
    if (a.from == a.to) {
      sum_rows<From, From>(a);
    } else if (a.to == DType::kF32) {
      if constexpr (sizeof(From) == 2) sum_rows<From, float>(a);
    } else if constexpr (sizeof(From) == 4) {
      if (a.to == DType::kF16) sum_rows<float, num::Fp16>(a);
      if (a.to == DType::kBf16) sum_rows<float, num::Bf16>(a);
    }
  });
}

namespace {

template <class T, class R = Register<T>>
bool taps_of(const T* grid, int64_t pixel, const GridGeometry& g, GridTaps<R>& taps) {
  return grid_taps(load(grid + pixel * 2), load(grid + pixel * 2 + 1), g, taps);
}

}  // namespace

void grid_sample(const GridSampleArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    const int64_t channels = a.geometry.c;
    for (int64_t p = a.first; p < a.last; ++p) {
      GridTaps<R> taps;
      const bool finite = taps_of(static_cast<const T*>(a.grid), p, a.geometry, taps);
      for (int64_t c = 0; c < channels; ++c) {
        R sum = finite ? R(0) : R(kQuietNan);
        for (int k = 0; k < taps.count; ++k) {
          const R value = load(x + taps.offset[k] + c);
          sum = k == 0 ? taps.weight[k] * value : fma(taps.weight[k], value, sum);
        }
        store(y + p * channels + c, sum);
      }
    }
  });
}

void grid_sample_grad(const GridSampleGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const GridGeometry& g = a.geometry;
    const T* dy = static_cast<const T*>(a.dy);
    T* dx = static_cast<T*>(a.dx);
    R* sums = static_cast<R*>(a.scratch);
    const int64_t size = g.h * g.w * g.c;
    for (int64_t i = 0; i < size; ++i) sums[i] = R(0);
    for (int64_t p = 0; p < g.pixels; ++p) {
      GridTaps<R> taps;
      taps_of(static_cast<const T*>(a.grid), p, g, taps);
      for (int k = 0; k < taps.count; ++k)
        for (int64_t c = 0; c < g.c; ++c) {
          R& sum = sums[taps.offset[k] + c];
          sum = fma(taps.weight[k], load(dy + p * g.c + c), sum);
        }
    }
    for (int64_t i = 0; i < size; ++i) store(dx + i, sums[i]);
  });
}

void grid_sample_grid_grad(const GridSampleGridGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const GridGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    const T* dy = static_cast<const T*>(a.dy);
    T* dgrid = static_cast<T*>(a.dgrid);
    for (int64_t p = a.first; p < a.last; ++p) {
      GridTaps<R> taps;
      const bool finite = taps_of(static_cast<const T*>(a.grid), p, g, taps);
      R gx = finite ? R(0) : R(kQuietNan);
      R gy = gx;
      for (int k = 0; k < taps.count; ++k) {
        R lanes[kLanes] = {};
        for (int64_t c = 0; c < g.c; ++c)
          lanes[c % kLanes] = fma(load(x + taps.offset[k] + c), load(dy + p * g.c + c), lanes[c % kLanes]);
        const R sum = tree_sum(lanes);
        gx = fma(taps.slope_x[k], sum, gx);
        gy = fma(taps.slope_y[k], sum, gy);
      }
      store(dgrid + p * 2, gx);
      store(dgrid + p * 2 + 1, gy);
    }
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
