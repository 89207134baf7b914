#include "kern/lane/table.h"
#include "kern/lane/window.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// The valid taps of one window.
struct Window {
  int64_t origin;  // element offset of the first valid tap's pixel
  int64_t rows, columns;
  int64_t row_step, column_step;  // in elements
};
HALFTONE_INLINE Window window_of(const PoolGeometry& g, const TapRange& rows, const TapRange& columns) {
  const int64_t h = rows.start + rows.first * g.dh;
  const int64_t w = columns.start + columns.first * g.dw;
  return {(h * g.w + w) * g.c, rows.last - rows.first, columns.last - columns.first, g.dh * g.w * g.c,
          g.dw * g.c};
}
// f(offset of the tap's pixel), in (kh, kw) order.
template <class F>
HALFTONE_INLINE void for_taps(const Window& window, F&& f) {
  int64_t row = window.origin;
  for (int64_t kh = 0; kh < window.rows; ++kh, row += window.row_step) {
    int64_t tap = row;
    for (int64_t kw = 0; kw < window.columns; ++kw, tap += window.column_step) f(tap);
  }
}

template <class T>
HALFTONE_INLINE void narrow_all(const float* from, T* to, int64_t n) {
  map(from, to, n, [](F32 x) { return x; });
}
HALFTONE_INLINE void clear(float* sums, int64_t n) {
  for_vectors(n, [&](int64_t i, auto full, int64_t count) { store_part(sums + i, F32(0.0F), full, count); });
}

}  // namespace

void max_pool(const PoolArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PoolGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    for (int64_t oh = a.oh0; oh < a.oh1; ++oh) {
      const TapRange rows = row_taps(g, oh);
      for (int64_t ow = 0; ow < g.ow; ++ow) {
        const Window window = window_of(g, rows, column_taps(g, ow));
        T* y = static_cast<T*>(a.y) + (oh * g.ow + ow) * g.c;
        for_vectors(g.c, [&](int64_t c, auto full, int64_t count) {
          F32 best(-kInfinity);
          for_taps(window, [&](int64_t tap) { best = larger(best, load_part(x + tap + c, full, count)); });
          store_part(y + c, best, full, count);
        });
      }
    }
  });
  if (!done) ref_fma::kernels().max_pool(a);
}

void max_pool_grad(const PoolGradArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PoolGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    float* sums = static_cast<float*>(a.scratch);
    const int64_t size = g.h * g.w * g.c;
    clear(sums, size);
    for (int64_t oh = 0; oh < g.oh; ++oh) {
      const TapRange rows = row_taps(g, oh);
      for (int64_t ow = 0; ow < g.ow; ++ow) {
        const Window window = window_of(g, rows, column_taps(g, ow));
        const T* dy = static_cast<const T*>(a.dy) + (oh * g.ow + ow) * g.c;
        for_vectors(g.c, [&](int64_t c, auto full, int64_t count) {
          // The number of each lane's winning tap; the first tap wins over nothing.
          F32 best = load_part(x + window.origin + c, full, count);
          U32 winner(0U);
          uint32_t number = 0;
          for_taps(window, [&](int64_t tap) {
            const F32 value = load_part(x + tap + c, full, count);
            const Mask better = (value > best) | (value != value);
            winner = select(better, U32(number), winner);
            best = select(better, value, best);
            ++number;
          });
          const F32 gradient = load_part(dy + c, full, count);
          number = 0;
          for_taps(window, [&](int64_t tap) {
            // A lane that didn't win adds zero, which changes nothing: sums are never -0.
            const F32 part = select(equal(winner, U32(number)), gradient, F32(0.0F));
            store_part(sums + tap + c, load_part(sums + tap + c, full, count) + part, full, count);
            ++number;
          });
        });
      }
    }
    narrow_all(sums, static_cast<T*>(a.dx), size);
  });
  if (!done) ref_fma::kernels().max_pool_grad(a);
}

void average_pool(const PoolArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PoolGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    for (int64_t oh = a.oh0; oh < a.oh1; ++oh) {
      const TapRange rows = row_taps(g, oh);
      for (int64_t ow = 0; ow < g.ow; ++ow) {
        const TapRange columns = column_taps(g, ow);
        const Window window = window_of(g, rows, columns);
        const F32 share(1.0F / static_cast<float>(tap_count(g, rows, columns)));
        T* y = static_cast<T*>(a.y) + (oh * g.ow + ow) * g.c;
        for_vectors(g.c, [&](int64_t c, auto full, int64_t count) {
          F32 sum(0.0F);
          for_taps(window, [&](int64_t tap) { sum = sum + load_part(x + tap + c, full, count); });
          store_part(y + c, sum * share, full, count);
        });
      }
    }
  });
  if (!done) ref_fma::kernels().average_pool(a);
}

void average_pool_grad(const PoolGradArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PoolGeometry& g = a.geometry;
    float* sums = static_cast<float*>(a.scratch);
    const int64_t size = g.h * g.w * g.c;
    clear(sums, size);
    for (int64_t oh = 0; oh < g.oh; ++oh) {
      const TapRange rows = row_taps(g, oh);
      for (int64_t ow = 0; ow < g.ow; ++ow) {
        const TapRange columns = column_taps(g, ow);
        const Window window = window_of(g, rows, columns);
        const F32 share(1.0F / static_cast<float>(tap_count(g, rows, columns)));
        const T* dy = static_cast<const T*>(a.dy) + (oh * g.ow + ow) * g.c;
        for_vectors(g.c, [&](int64_t c, auto full, int64_t count) {
          const F32 part = load_part(dy + c, full, count) * share;
          for_taps(window, [&](int64_t tap) {
            store_part(sums + tap + c, load_part(sums + tap + c, full, count) + part, full, count);
          });
        });
      }
    }
    narrow_all(sums, static_cast<T*>(a.dx), size);
  });
  if (!done) ref_fma::kernels().average_pool_grad(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
