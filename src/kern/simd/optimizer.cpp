#include "kern/lane/table.h"
#include "kern/simd/loops.h"
#include "kern/simd/random.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// x rounded and stored at p; gives back what was stored, widened. The random bits stand at `random` when they
// are wanted.
template <bool kStochastic, class T, bool kFull>
HALFTONE_INLINE F32 store_rounded(T* p, F32 x, const uint16_t* random, Constant<kFull> full, int64_t count) {
  if constexpr (sizeof(T) == 2) {
    __m256i words;
    if constexpr (kStochastic) {
      words = low_words(dithered(T{}, x, load_words16(random)));
    } else {
      words = narrow(T{}, x);
    }
    if constexpr (kFull) {
      store_words(p, words);
    } else {
      store_words_n(p, words, count);
    }
    return widen(T{}, words);
  } else {
    store_part(p, x, full, count);
    return x;
  }
}

template <Optimizer kind, bool has_momentum, Rounding rounding, class T, class G>
void step_elements(const OptimizerArgs& a, const G* grad) {
  constexpr bool kStochastic = rounding == Rounding::kStochastic && sizeof(T) == 2;
  constexpr bool kReadsM = uses_m(kind, has_momentum);
  constexpr bool kReadsV = uses_v(kind);
  const OptimizerScalars<float> scalars = optimizer_scalars<float>(a);
  T* weights = static_cast<T*>(a.w);
  T* first_moments = static_cast<T*>(a.m);
  T* second_roots = static_cast<T*>(a.v);
  T* carries = static_cast<T*>(a.carry);
  const bool decays = a.weight_decay != 0.0F;
  const bool nesterov = a.nesterov;
  RandomRun run_w(a.key_w, a.step);
  RandomRun run_m(a.key_m, a.step);
  RandomRun run_v(a.key_v, a.step);
  int64_t stalled = 0;
  for (int64_t begin = 0; begin < a.n;) {
    RandomRun::Part part = {0, a.n - begin};
    if constexpr (kStochastic) {
      const uint64_t element = static_cast<uint64_t>(a.first + begin);
      part = run_w.half_words(element, a.n - begin);
      if constexpr (kReadsM) run_m.half_words(element, a.n - begin);
      if constexpr (kReadsV) run_v.half_words(element, a.n - begin);
    }
    for_vectors(part.count, [&](int64_t j, auto full, int64_t count) {
      const int64_t i = begin + j;
      const int64_t at = part.offset + j;
      prefetch(weights + i);
      prefetch(grad + i);
      if constexpr (kReadsM) prefetch(first_moments + i);
      if constexpr (kReadsV) prefetch(second_roots + i);
      const F32 w = load_part(weights + i, full, count);
      F32 m(0.0F);
      F32 v_root(0.0F);
      if constexpr (kReadsM) m = load_part(first_moments + i, full, count);
      if constexpr (kReadsV) v_root = load_part(second_roots + i, full, count);
      F32 update = optimizer_update<kind, has_momentum>(scalars, decays, nesterov, w,
                                                        load_part(grad + i, full, count), m, v_root);
      if constexpr (kReadsM)
        store_rounded<kStochastic>(first_moments + i, m, kStochastic ? run_m.half_word(at) : nullptr, full,
                                   count);
      if constexpr (kReadsV)
        store_rounded<kStochastic>(second_roots + i, v_root, kStochastic ? run_v.half_word(at) : nullptr,
                                   full, count);
      if constexpr (rounding == Rounding::kKahan) update = update + load_part(carries + i, full, count);
      const F32 stored = store_rounded<kStochastic>(weights + i, w + update,
                                                    kStochastic ? run_w.half_word(at) : nullptr, full, count);
      if constexpr (rounding == Rounding::kKahan) store_part(carries + i, update - (stored - w), full, count);
      Mask unchanged = (update != F32(0.0F)) & (stored == w);
      if constexpr (!full.value) unchanged = unchanged & first_lanes(count);
      stalled += __builtin_popcount(lane_bits(unchanged));
    });
    begin += part.count;
  }
  *a.stalled += stalled;
}

}  // namespace

void optimizer(const OptimizerArgs& a) noexcept {
  const bool has_momentum =
      a.momentum != 0.0F && (a.kind == Optimizer::kSgd || a.kind == Optimizer::kRmsProp);
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](const auto* grad) {
      choose(a.kind, [&](auto kind) {
        choose(a.rounding, [&](auto rounding) {
          constexpr bool kCanHave = kind.value == Optimizer::kSgd || kind.value == Optimizer::kRmsProp;
          if constexpr (kCanHave) {
            choose(has_momentum, [&](auto momentum) {
              step_elements<kind.value, momentum.value, rounding.value, T>(a, grad);
            });
          } else {
            step_elements<kind.value, false, rounding.value, T>(a, grad);
          }
        });
      });
    };
    if (a.grad_dtype == a.dtype) {
      run(static_cast<const T*>(a.grad));
    } else {
      run(static_cast<const float*>(a.grad));
    }
  });
  if (!done) ref_fma::kernels().optimizer(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
