#include "kern/lane/formula.h"
#include "kern/lane/table.h"
#include "kern/lane/window.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// f(offset of the tap's pixel in the image) for the valid taps in (kh, kw) order.
template <class F>
HALFTONE_INLINE void for_taps(const PoolGeometry& g, const TapRange& rows, const TapRange& columns, F&& f) {
  for (int64_t kh = rows.first; kh < rows.last; ++kh)
    for (int64_t kw = columns.first; kw < columns.last; ++kw)
      f(((rows.start + kh * g.dh) * g.w + columns.start + kw * g.dw) * g.c);
}

template <class T>
void narrow_all(const Register<T>* from, T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(to + i, from[i]);
}

}  // namespace

void max_pool(const PoolArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const PoolGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    for (int64_t oh = a.oh0; oh < a.oh1; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t c = 0; c < g.c; ++c) {
          R best = R(-kInfinity);
          for_taps(g, row_taps(g, oh), column_taps(g, ow),
                   [&](int64_t tap) { best = larger(best, load(x + tap + c)); });
          store(y + (oh * g.ow + ow) * g.c + c, best);
        }
  });
}

void max_pool_grad(const PoolGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const PoolGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    const T* dy = static_cast<const T*>(a.dy);
    R* sums = static_cast<R*>(a.scratch);
    const int64_t size = g.h * g.w * g.c;
    for (int64_t i = 0; i < size; ++i) sums[i] = R(0);
    for (int64_t oh = 0; oh < g.oh; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t c = 0; c < g.c; ++c) {
          R best = R(-kInfinity);
          int64_t winner = -1;
          for_taps(g, row_taps(g, oh), column_taps(g, ow), [&](int64_t tap) {
            const R value = load(x + tap + c);
            if (winner < 0 || value > best || value != value) winner = tap;
            best = larger(best, value);
          });
          sums[winner + c] = sums[winner + c] + load(dy + (oh * g.ow + ow) * g.c + c);
        }
    narrow_all(sums, static_cast<T*>(a.dx), size);
  });
}

void average_pool(const PoolArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const PoolGeometry& g = a.geometry;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    for (int64_t oh = a.oh0; oh < a.oh1; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow) {
        const TapRange rows = row_taps(g, oh);
        const TapRange columns = column_taps(g, ow);
        const R share = R(1) / static_cast<R>(tap_count(g, rows, columns));
        for (int64_t c = 0; c < g.c; ++c) {
          R sum = R(0);
          for_taps(g, rows, columns, [&](int64_t tap) { sum = sum + load(x + tap + c); });
          store(y + (oh * g.ow + ow) * g.c + c, sum * share);
        }
      }
  });
}

void average_pool_grad(const PoolGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const PoolGeometry& g = a.geometry;
    const T* dy = static_cast<const T*>(a.dy);
    R* sums = static_cast<R*>(a.scratch);
    const int64_t size = g.h * g.w * g.c;
    for (int64_t i = 0; i < size; ++i) sums[i] = R(0);
    for (int64_t oh = 0; oh < g.oh; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow) {
        const TapRange rows = row_taps(g, oh);
        const TapRange columns = column_taps(g, ow);
        const R share = R(1) / static_cast<R>(tap_count(g, rows, columns));
        for (int64_t c = 0; c < g.c; ++c) {
          const R part = load(dy + (oh * g.ow + ow) * g.c + c) * share;
          for_taps(g, rows, columns, [&](int64_t tap) { sums[tap + c] = sums[tap + c] + part; });
        }
      }
    narrow_all(sums, static_cast<T*>(a.dx), size);
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
