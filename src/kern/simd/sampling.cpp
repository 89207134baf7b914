#include "kern/sampling.h"

#include "kern/lane/grid.h"
#include "kern/lane/table.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <class From, class To>
void sum_rows(const WeightedRowsArgs& a) {
  const From* x = static_cast<const From*>(a.x);
  const float* weights = static_cast<const float*>(a.weights);
  for (int64_t r = 0; r < a.rows; ++r) {
    To* y = static_cast<To*>(a.y) + r * a.inner;
    const int64_t first = a.offsets[r];
    const int64_t last = a.offsets[r + 1];
    for_vectors(a.inner, [&](int64_t i, auto full, int64_t count) {
      F32 sum(0.0F);
      if (first < last)
        sum = F32(weights[first]) * load_part(x + a.indices[first] * a.inner + i, full, count);
      for (int64_t k = first + 1; k < last; ++k)
        sum = fma(F32(weights[k]), load_part(x + a.indices[k] * a.inner + i, full, count), sum);
      store_part(y + i, sum, full, count);
    });
  }
}

// The fewest elements of a row for which a vector with a mask is no slower than the elements one by one.
constexpr int64_t kFewest = 4;

}  // namespace

void weighted_rows(const WeightedRowsArgs& a) noexcept {
  if (a.from == DType::kF64 || a.inner < kFewest) return ref_fma::kernels().sampling->weighted_rows(a);
  choose_storage(a.from, [&](auto type) {
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

HALFTONE_INLINE float one(const float* p) {
  return *p;
}
HALFTONE_INLINE float one(const num::Fp16* p) {
  return num::widen(*p);
}
HALFTONE_INLINE float one(const num::Bf16* p) {
  return num::widen(*p);
}
template <class T>
HALFTONE_INLINE bool taps_of(const T* grid, int64_t pixel, const GridGeometry& g, GridTaps<float>& taps) {
  return grid_taps(one(grid + pixel * 2), one(grid + pixel * 2 + 1), g, taps);
}

}  // namespace

void grid_sample(const GridSampleArgs& a) noexcept {
  const int64_t channels = a.geometry.c;
  const bool done = channels >= kFewest && choose_storage(a.dtype, [&](auto type) {
                      using T = typename decltype(type)::type;
                      const T* x = static_cast<const T*>(a.x);
                      for (int64_t p = a.first; p < a.last; ++p) {
                        GridTaps<float> taps;
                        const bool finite = taps_of(static_cast<const T*>(a.grid), p, a.geometry, taps);
                        T* y = static_cast<T*>(a.y) + p * channels;
                        for_vectors(channels, [&](int64_t c, auto full, int64_t count) {
                          F32 sum(finite ? 0.0F : kQuietNan);
                          for (int k = 0; k < taps.count; ++k) {
                            const F32 value = load_part(x + taps.offset[k] + c, full, count);
                            const F32 weight(taps.weight[k]);
                            sum = k == 0 ? weight * value : fma(weight, value, sum);
                          }
                          store_part(y + c, sum, full, count);
                        });
                      }
                    });
  if (!done) ref_fma::kernels().sampling->grid_sample(a);
}

void grid_sample_grad(const GridSampleGradArgs& a) noexcept {
  const GridGeometry& g = a.geometry;
  const bool done =
      g.c >= kFewest && choose_storage(a.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        float* sums = static_cast<float*>(a.scratch);
        const int64_t size = g.h * g.w * g.c;
        for_vectors(
            size, [&](int64_t i, auto full, int64_t count) { store_part(sums + i, F32(0.0F), full, count); });
        for (int64_t p = 0; p < g.pixels; ++p) {
          GridTaps<float> taps;
          taps_of(static_cast<const T*>(a.grid), p, g, taps);
          const T* dy = static_cast<const T*>(a.dy) + p * g.c;
          for (int k = 0; k < taps.count; ++k) {
            float* target = sums + taps.offset[k];
            const F32 weight(taps.weight[k]);
            for_vectors(g.c, [&](int64_t c, auto full, int64_t count) {
              const F32 sum = fma(weight, load_part(dy + c, full, count), load_part(target + c, full, count));
              store_part(target + c, sum, full, count);
            });
          }
        }
        map(sums, static_cast<T*>(a.dx), size, [](F32 x) { return x; });
      });
  if (!done) ref_fma::kernels().sampling->grid_sample_grad(a);
}

void grid_sample_grid_grad(const GridSampleGridGradArgs& a) noexcept {
  const GridGeometry& g = a.geometry;
  const bool done = g.c >= kFewest && choose_storage(a.dtype, [&](auto type) {
                      using T = typename decltype(type)::type;
                      const T* x = static_cast<const T*>(a.x);
                      T* dgrid = static_cast<T*>(a.dgrid);
                      for (int64_t p = a.first; p < a.last; ++p) {
                        GridTaps<float> taps;
                        const bool finite = taps_of(static_cast<const T*>(a.grid), p, g, taps);
                        const T* dy = static_cast<const T*>(a.dy) + p * g.c;
                        float gx = finite ? 0.0F : kQuietNan;
                        float gy = gx;
                        for (int k = 0; k < taps.count; ++k) {
                          F32 lanes(0.0F);
                          for_vectors(g.c, [&](int64_t c, auto full, int64_t count) {
                            const F32 next = fma(load_part(x + taps.offset[k] + c, full, count),
                                                 load_part(dy + c, full, count), lanes);
                            lanes = full.value ? next : select(first_lanes(count), next, lanes);
                          });
                          const float sum = tree_sum(lanes);
                          gx = fma(taps.slope_x[k], sum, gx);
                          gy = fma(taps.slope_y[k], sum, gy);
                        }
                        store_n(dgrid + p * 2, F32(gx), 1);
                        store_n(dgrid + p * 2 + 1, F32(gy), 1);
                      }
                    });
  if (!done) ref_fma::kernels().sampling->grid_sample_grid_grad(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
