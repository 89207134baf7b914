// What normalised rows are divided by and multiplied with (kern/normalization.h), one value of the register
// type R each.
#pragma once

#include "kern/lane/choose.h"
#include "kern/lane/formula.h"
#include "kern/normalization.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// Sums over a row are cut into pieces of as many elements, which bounds their error.
inline constexpr int64_t kNormPiece = 16384;

template <class F>
HALFTONE_INLINE void choose(Normalization kind, F&& f) {
  switch (kind) {
    case Normalization::kLayer:
      return f(Constant<Normalization::kLayer>{});
    case Normalization::kRms:
      return f(Constant<Normalization::kRms>{});
    case Normalization::kL1:
      return f(Constant<Normalization::kL1>{});
  }
}

template <class R>
struct RowSpread {
  R factor, epsilon, floor, outside;
  bool zero_stays;
  HALFTONE_INLINE explicit RowSpread(const Spread& s)
      : factor(static_cast<R>(s.factor)),
        epsilon(static_cast<R>(s.epsilon)),
        floor(static_cast<R>(s.floor)),
        outside(static_cast<R>(s.outside)),
        zero_stays(s.zero_stays) {}

  HALFTONE_INLINE R divisor(R spread) const { return (spread > floor ? spread : floor) + outside; }
  HALFTONE_INLINE R inverse(R spread) const {
    const R d = divisor(spread);
    if (!(spread < R(kInfinity))) return R(kQuietNan);
    if (zero_stays && d == R(0)) return R(0);
    return R(1) / d;
  }
  // c of NormalizeGradArgs from the row's sum of g * xhat, its sign exchanged.
  template <Normalization kind>
  HALFTONE_INLINE R minus_c(R spread, R sum) const {
    if (spread <= floor) return R(0);
    if constexpr (kind == Normalization::kL1) return R(0) - sum;
    return R(0) - (factor * (divisor(spread) / spread)) * sum;
  }
};
template <Normalization kind, class R>
HALFTONE_INLINE R spread_of(R total, const RowSpread<R>& s) {
  if constexpr (kind == Normalization::kL1) return total;
  return sqrt(fma(total, s.factor, s.epsilon));
}

// What LrnArgs' x is multiplied by.
template <class V>
HALFTONE_INLINE V lrn_power(V s, V beta) {
  return select(s < V(kInfinity), pow(s, V(0.0F) - beta), V(kQuietNan));
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
