#include "kern/lane/table.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void squared_deviation(const SquaredDeviationArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    const R* mean = static_cast<const R*>(a.mean);
    R* out = static_cast<R*>(a.out);
    for (int64_t c = 0; c < a.cols; ++c) {
      R sum = a.accumulate ? out[c] : R(0);
      for (int64_t r = 0; r < a.rows; ++r) {
        const R d = load(x + r * a.cols + c) - mean[c];
        sum = fma(d, d, sum);
      }
      out[c] = sum;
    }
  });
}

void channel_affine(const ChannelAffineArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    const R* scale = static_cast<const R*>(a.scale);
    const R* shift = static_cast<const R*>(a.shift);
    T* y = static_cast<T*>(a.y);
    for (int64_t r = 0; r < a.rows; ++r)
      for (int64_t c = 0; c < a.cols; ++c) {
        const int64_t i = r * a.cols + c;
        store(y + i, fma(load(x + i), scale[c], shift[c]));
      }
  });
}

void channel_grad_sums(const ChannelGradSumsArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* dy = static_cast<const T*>(a.dy);
    const T* x = static_cast<const T*>(a.x);
    const R* mean = static_cast<const R*>(a.mean);
    R* sum_dy = static_cast<R*>(a.sum_dy);
    R* sum_dyx = static_cast<R*>(a.sum_dyx);
    for (int64_t c = 0; c < a.cols; ++c) {
      R plain = a.accumulate ? sum_dy[c] : R(0);
      R weighted = a.accumulate ? sum_dyx[c] : R(0);
      for (int64_t r = 0; r < a.rows; ++r) {
        const R g = load(dy + r * a.cols + c);
        plain = plain + g;
        weighted = fma(g, load(x + r * a.cols + c) - mean[c], weighted);
      }
      sum_dy[c] = plain;
      sum_dyx[c] = weighted;
    }
  });
}

void channel_affine_pair(const ChannelAffinePairArgs& args) noexcept {
  with_storage(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* dy = static_cast<const T*>(args.dy);
    const T* x = static_cast<const T*>(args.x);
    const R* a = static_cast<const R*>(args.a);
    const R* b = static_cast<const R*>(args.b);
    const R* shift = static_cast<const R*>(args.shift);
    T* dx = static_cast<T*>(args.dx);
    for (int64_t r = 0; r < args.rows; ++r)
      for (int64_t c = 0; c < args.cols; ++c) {
        const int64_t i = r * args.cols + c;
        store(dx + i, fma(load(dy + i), a[c], fma(load(x + i), b[c], shift[c])));
      }
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
