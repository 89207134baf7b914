#include "kern/normalization.h"

#include "kern/lane/spread.h"
#include "kern/lane/table.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// Pieces of a row, each over 16 lanes. term(lanes, i, full, count) gives the lanes after elements i .. i+count-1;
// what it does to lanes from `count` on is dropped.
template <class Term>
HALFTONE_INLINE float row_sum(int64_t n, Term&& term) {
  float total = 0;
  for (int64_t first = 0; first < n; first += kNormPiece) {
    const int64_t length = first + kNormPiece < n ? kNormPiece : n - first;
    F32 lanes(0.0F);
    for_vectors(length, [&](int64_t i, auto full, int64_t count) {
      const F32 next = term(lanes, first + i, full, count);
      lanes = full.value ? next : select(first_lanes(count), next, lanes);
    });
    const float sum = tree_sum(lanes);
    total = first == 0 ? sum : total + sum;
  }
  return total;
}

template <Normalization kind, bool has_scale, bool has_bias, class T>
void normalize_rows(const NormalizeArgs& a) {
  constexpr bool kCentred = kind == Normalization::kLayer;
  const RowSpread<float> s(a.spread);
  const T* scale = static_cast<const T*>(a.scale);
  const T* bias = static_cast<const T*>(a.bias);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    T* y = static_cast<T*>(a.y) + r * a.cols;
    float mean = 0;
    if constexpr (kCentred)
      mean = row_sum(a.cols, [&](F32 lanes, int64_t i, auto full,
                                 int64_t count) { return lanes + load_part(x + i, full, count); }) /
             static_cast<float>(a.cols);
    const F32 centre(mean);
    const float total = row_sum(a.cols, [&](F32 lanes, int64_t i, auto full, int64_t count) {
      const F32 value = load_part(x + i, full, count);
      if constexpr (kind == Normalization::kL1) {
        return lanes + abs(value);
      } else {
        const F32 d = kCentred ? value - centre : value;
        return fma(d, d, lanes);
      }
    });
    const float spread = spread_of<kind>(total, s);
    const F32 inverse(s.inverse(spread));
    if (a.mean_out != nullptr) static_cast<float*>(a.mean_out)[r] = mean;
    if (a.spread_out != nullptr) static_cast<float*>(a.spread_out)[r] = spread;
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      const F32 value = load_part(x + c, full, count);
      F32 z = (kCentred ? value - centre : value) * inverse;
      if constexpr (has_scale && has_bias) {
        z = fma(z, load_part(scale + c, full, count), load_part(bias + c, full, count));
      } else if constexpr (has_bias) {
        z = z + load_part(bias + c, full, count);
      } else if constexpr (has_scale) {
        z = z * load_part(scale + c, full, count);
      }
      store_part(y + c, z, full, count);
    });
  }
}

template <Normalization kind, bool has_scale, bool has_sums, class T>
void normalize_grad_rows(const NormalizeGradArgs& a) {
  constexpr bool kCentred = kind == Normalization::kLayer;
  const RowSpread<float> s(a.spread);
  const T* scale = static_cast<const T*>(a.scale);
  float* sum_dy = static_cast<float*>(a.sum_dy);
  float* sum_dyx = static_cast<float*>(a.sum_dyx);
  if constexpr (has_sums)
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      store_part(sum_dy + c, F32(0.0F), full, count);
      store_part(sum_dyx + c, F32(0.0F), full, count);
    });
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
    T* dx = a.dx == nullptr ? nullptr : static_cast<T*>(a.dx) + r * a.cols;
    const F32 mean(kCentred ? static_cast<const float*>(a.mean)[r] : 0.0F);
    const float spread = static_cast<const float*>(a.spread_saved)[r];
    const F32 inverse(s.inverse(spread));
    const auto normalised = [&](F32 value) { return (kCentred ? value - mean : value) * inverse; };
    const auto scaled = [&](F32 d, int64_t c, auto full, int64_t count) {
      if constexpr (has_scale) {
        return d * load_part(scale + c, full, count);
      } else {
        return d;
      }
    };
    F32 shift(0.0F);
    F32 minus_c(0.0F);
    if (dx != nullptr) {
      // Two sums in one pass over the row: pieces and lanes as row_sum.
      float total_g = 0;
      float total_gx = 0;
      for (int64_t first = 0; first < a.cols; first += kNormPiece) {
        const int64_t length = first + kNormPiece < a.cols ? kNormPiece : a.cols - first;
        F32 g_lanes(0.0F);
        F32 gx_lanes(0.0F);
        for_vectors(length, [&](int64_t i, auto full, int64_t count) {
          const F32 g = scaled(load_part(dy + first + i, full, count), first + i, full, count);
          const F32 next = fma(g, normalised(load_part(x + first + i, full, count)), gx_lanes);
          gx_lanes = full.value ? next : select(first_lanes(count), next, gx_lanes);
          if constexpr (kCentred) {
            const F32 next_g = g_lanes + g;
            g_lanes = full.value ? next_g : select(first_lanes(count), next_g, g_lanes);
          }
        });
        const float g = tree_sum(g_lanes);
        const float gx = tree_sum(gx_lanes);
        total_g = first == 0 ? g : total_g + g;
        total_gx = first == 0 ? gx : total_gx + gx;
      }
      shift = F32(total_g / static_cast<float>(a.cols));
      minus_c = F32(s.template minus_c<kind>(spread, total_gx));
    }
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      const F32 value = load_part(x + c, full, count);
      const F32 d = load_part(dy + c, full, count);
      const F32 h = normalised(value);
      if (dx != nullptr) {
        const F32 along = kind == Normalization::kL1 ? sign_of(value) : h;
        const F32 g = scaled(d, c, full, count);
        store_part(dx + c, inverse * fma(along, minus_c, kCentred ? g - shift : g), full, count);
      }
      if constexpr (has_sums) {
        store_part(sum_dy + c, load_part(sum_dy + c, full, count) + d, full, count);
        store_part(sum_dyx + c, fma(d, h, load_part(sum_dyx + c, full, count)), full, count);
      }
    });
  }
}

void normalize(const NormalizeArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.kind, [&](auto kind) {
      choose(a.scale != nullptr, [&](auto has_scale) {
        choose(a.bias != nullptr, [&](auto has_bias) {
          normalize_rows<kind.value, has_scale.value, has_bias.value, T>(a);
        });
      });
    });
  });
  if (!done) ref_fma::kernels().normalization->normalize(a);
}

void normalize_grad(const NormalizeGradArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.kind, [&](auto kind) {
      choose(a.scale != nullptr, [&](auto has_scale) {
        choose(a.sum_dy != nullptr, [&](auto has_sums) {
          normalize_grad_rows<kind.value, has_scale.value, has_sums.value, T>(a);
        });
      });
    });
  });
  if (!done) ref_fma::kernels().normalization->normalize_grad(a);
}

void normalize_grad_columns(const NormalizeGradColumnsArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const RowSpread<float> s(a.spread);
    float* sum_dy = static_cast<float*>(a.sum_dy);
    float* sum_dyx = static_cast<float*>(a.sum_dyx);
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      store_part(sum_dy + c, F32(0.0F), full, count);
      store_part(sum_dyx + c, F32(0.0F), full, count);
    });
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.row_stride;
      const T* dy = static_cast<const T*>(a.dy) + r * a.row_stride;
      const F32 inverse(s.inverse(static_cast<const float*>(a.spread_saved)[r]));
      choose(a.mean != nullptr, [&](auto centred) {
        const F32 mean(centred.value ? static_cast<const float*>(a.mean)[r] : 0.0F);
        for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
          const F32 value = load_part(x + c, full, count);
          const F32 d = load_part(dy + c, full, count);
          const F32 h = (centred.value ? value - mean : value) * inverse;
          store_part(sum_dy + c, load_part(sum_dy + c, full, count) + d, full, count);
          store_part(sum_dyx + c, fma(d, h, load_part(sum_dyx + c, full, count)), full, count);
        });
      });
    }
  });
  if (!done) ref_fma::kernels().normalization->normalize_grad_columns(a);
}

// ---------------------------------------------------------------- across channels
HALFTONE_INLINE F32 lrn_power(F32 s, F32 beta) {
  return select(s < F32(kInfinity), pow(s, F32(0.0F) - beta), F32(__builtin_nanf("")));
}

template <bool gradient, class T>
void lrn_rows(const LrnArgs& a) {
  float* squares = static_cast<float*>(a.scratch);
  const int64_t padded = a.cols + a.before + a.after;
  float* terms = squares + padded;
  float* powers = terms + padded;
  const F32 factor(static_cast<float>(a.factor));
  const F32 back(static_cast<float>(-2 * a.factor * a.beta));
  const F32 beta(static_cast<float>(a.beta));
  const F32 bias(static_cast<float>(a.bias));
  for_vectors(2 * padded, [&](int64_t i, auto full, int64_t count) {
    store_part(squares + i, F32(0.0F), full, count);
  });
  const auto window_sum = [&](const float* from, int64_t c, auto full, int64_t count) {
    F32 sum(0.0F);
    for (int64_t k = 0; k <= a.before + a.after; ++k) sum = sum + load_part(from + c + k, full, count);
    return sum;
  };
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    T* y = static_cast<T*>(a.y) + r * a.cols;
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      const F32 value = load_part(x + c, full, count);
      store_part(squares + a.before + c, value * value, full, count);
    });
    if constexpr (!gradient) {
      for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
        const F32 s = fma(factor, window_sum(squares, c, full, count), bias);
        store_part(y + c, load_part(x + c, full, count) * lrn_power(s, beta), full, count);
      });
    } else {
      const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
      for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
        const F32 s = fma(factor, window_sum(squares, c, full, count), bias);
        const F32 p = lrn_power(s, beta);
        store_part(powers + c, p, full, count);
        const F32 product = load_part(dy + c, full, count) * load_part(x + c, full, count);
        store_part(terms + a.after + c, product * (p / s), full, count);
      });
      for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
        const F32 direct = load_part(dy + c, full, count) * load_part(powers + c, full, count);
        store_part(y + c, fma(back * load_part(x + c, full, count), window_sum(terms, c, full, count), direct),
                   full, count);
      });
    }
  }
}

void lrn(const LrnArgs& a) noexcept {
  const bool done =
      choose_storage(a.dtype, [&](auto type) { lrn_rows<false, typename decltype(type)::type>(a); });
  if (!done) ref_fma::kernels().normalization->lrn(a);
}

void lrn_grad(const LrnArgs& a) noexcept {
  const bool done =
      choose_storage(a.dtype, [&](auto type) { lrn_rows<true, typename decltype(type)::type>(a); });
  if (!done) ref_fma::kernels().normalization->lrn_grad(a);
}

}  // namespace

const NormalizationKernels& normalization_kernels() {
  static const NormalizationKernels table = {
      .normalize = normalize,
      .normalize_grad = normalize_grad,
      .normalize_grad_columns = normalize_grad_columns,
      .lrn = lrn,
      .lrn_grad = lrn_grad,
  };
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
