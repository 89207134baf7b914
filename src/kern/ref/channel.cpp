#include "kern/lane/formula.h"
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
      R sum = 0;
      for (int64_t r = 0; r < a.rows; ++r) {
        const R d = load(x + r * a.cols + c) - mean[c];
        sum = fma(d, d, sum);
      }
      out[c] = sum;
    }
  });
}

namespace {

// dy where the mask lets it through, else 0.
template <class T, Activation kActivation>
struct Mask {
  using R = Register<T>;
  explicit Mask(const ChannelMask& m)
      : scale(static_cast<const R*>(m.scale)),
        shift(static_cast<const R*>(m.shift)),
        y(static_cast<const T*>(m.y)),
        low(static_cast<R>(m.low)),
        high(static_cast<R>(m.high)) {}
  R operator()(R dy, R x, int64_t i, int64_t c) const {
    if constexpr (kActivation == Activation::kNone) return dy;
    const R s = y != nullptr ? load(y + i) : fma(x, scale[c], shift[c]);
    return passed_back<kActivation>(s, dy, low, high);
  }
  const R* scale;
  const R* shift;
  const T* y;
  R low, high;
};

}  // namespace

void channel_affine(const ChannelAffineArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    const T* residual = static_cast<const T*>(a.residual);
    const R* scale = static_cast<const R*>(a.scale);
    const R* shift = static_cast<const R*>(a.shift);
    T* y = static_cast<T*>(a.y);
    choose(a.activation, [&](auto activation) {
      for (int64_t r = 0; r < a.rows; ++r)
        for (int64_t c = 0; c < a.cols; ++c) {
          const int64_t i = r * a.cols + c;
          R z = fma(load(x + i), scale[c], shift[c]);
          if (residual != nullptr) z = z + load(residual + i);
          store(y + i, activated<activation.value>(z, static_cast<R>(a.low), static_cast<R>(a.high)));
        }
    });
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
    T* masked = static_cast<T*>(a.masked);
    choose(a.mask.activation, [&](auto activation) {
      const Mask<T, activation.value> mask(a.mask);
      for (int64_t c = 0; c < a.cols; ++c) {
        R plain = 0;
        R weighted = 0;
        for (int64_t r = 0; r < a.rows; ++r) {
          const int64_t i = r * a.cols + c;
          const R xi = load(x + i);
          const R g = mask(load(dy + i), xi, i, c);
          if (masked != nullptr) store(masked + i, g);
          plain = plain + g;
          weighted = fma(g, xi - mean[c], weighted);
        }
        sum_dy[c] = plain;
        sum_dyx[c] = weighted;
      }
    });
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
    choose(args.mask.activation, [&](auto activation) {
      const Mask<T, activation.value> mask(args.mask);
      for (int64_t r = 0; r < args.rows; ++r)
        for (int64_t c = 0; c < args.cols; ++c) {
          const int64_t i = r * args.cols + c;
          const R xi = load(x + i);
          const R g = mask(load(dy + i), xi, i, c);
          store(dx + i, fma(g, a[c], fma(xi, b[c], shift[c])));
        }
    });
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
