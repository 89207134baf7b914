#include "kern/lane/formula.h"
#include "kern/lane/random.h"
#include "kern/lane/table.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

HALFTONE_INLINE num::Fp16 dithered(num::Fp16, float x, uint16_t random) {
  return num::to_fp16_stochastic(x, random);
}
HALFTONE_INLINE num::Bf16 dithered(num::Bf16, float x, uint16_t random) {
  return num::to_bf16_stochastic(x, random);
}
// fp32 and fp64 lose nothing that could be dithered.
HALFTONE_INLINE float dithered(float, float x, uint16_t) {
  return x;
}
HALFTONE_INLINE double dithered(double, double x, uint16_t) {
  return x;
}

template <class T>
void store_rounded(Rounding rounding, T* p, Register<T> x, num::RandomKey key, uint64_t element,
                   uint64_t step) {
  if (rounding == Rounding::kStochastic && sizeof(T) == 2) {
    *p = dithered(T{}, x, random16_of(key, element, step));
  } else {
    store(p, x);
  }
}

template <Optimizer kind, bool has_momentum, class T, class G>
void step_elements(const OptimizerArgs& a, const G* grad) {
  using R = Register<T>;
  const OptimizerScalars<R> scalars = optimizer_scalars<R>(a);
  T* weights = static_cast<T*>(a.w);
  T* first_moments = static_cast<T*>(a.m);
  T* second_roots = static_cast<T*>(a.v);
  T* carries = static_cast<T*>(a.carry);
  const bool decays = a.weight_decay != 0.0F;
  for (int64_t i = 0; i < a.n; ++i) {
    const uint64_t element = static_cast<uint64_t>(a.first + i);
    const R w = load(weights + i);
    R m = R(0);
    R v_root = R(0);
    if constexpr (uses_m(kind, has_momentum)) m = load(first_moments + i);
    if constexpr (uses_v(kind)) v_root = load(second_roots + i);
    R update = optimizer_update<kind, has_momentum>(scalars, decays, a.nesterov, w,
                                                    static_cast<R>(load(grad + i)), m, v_root);
    if constexpr (uses_m(kind, has_momentum))
      store_rounded(a.rounding, first_moments + i, m, a.key_m, element, a.step);
    if constexpr (uses_v(kind)) store_rounded(a.rounding, second_roots + i, v_root, a.key_v, element, a.step);
    if (a.rounding == Rounding::kKahan) update = update + load(carries + i);
    store_rounded(a.rounding, weights + i, w + update, a.key_w, element, a.step);
    const R stored = load(weights + i);
    if (a.rounding == Rounding::kKahan) store(carries + i, update - (stored - w));
    if (update != R(0) && stored == w) ++*a.stalled;
  }
}

}  // namespace

void optimizer(const OptimizerArgs& a) noexcept {
  const bool has_momentum =
      a.momentum != 0.0F && (a.kind == Optimizer::kSgd || a.kind == Optimizer::kRmsProp);
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](const auto* grad) {
      choose(a.kind, [&](auto kind) {
        choose(has_momentum, [&](auto momentum) { step_elements<kind.value, momentum.value, T>(a, grad); });
      });
    };
    if (a.grad_dtype == a.dtype) {
      run(static_cast<const T*>(a.grad));
    } else {
      run(static_cast<const Register<T>*>(a.grad));
    }
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
