#include "kern/normalization.h"

#include "kern/lane/spread.h"
#include "kern/lane/table.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// Pieces of a row, each over 16 lanes. term(lanes, i, full, count) gives the lanes after elements i ..
// i+count-1; what it does to lanes from `count` on is dropped.
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

// Rows of up to so many columns are widened once, into a place of their own that stays in the nearest cache,
// and done a few at a time: their sums don't wait for each other, and sums over rows are read and written
// once for all of them.
inline constexpr int64_t kWidenedColumns = 2048;
inline constexpr int kRowsTogether = HALFTONE_KERN_VECTOR == 512 ? 4 : 2;
// The gradient's, which needs more registers, above all where nothing is kept between its two passes.
template <class T>
inline constexpr int kGradRowsTogether = sizeof(T) == sizeof(float) ? kRowsTogether / 2 : kRowsTogether;

// `kRows` rows as floats; of fp32 they are read where they lie.
template <int kRows, class T>
struct Widened {
  static constexpr bool kCopies = sizeof(T) != sizeof(float);
  // A row's place is no multiple of 4096 bytes: such addresses share their sets of a cache.
  alignas(64) float copy[kCopies ? kRows : 1][kCopies ? kWidenedColumns + kLanes : 1];
  const T* rows[kRows];
  HALFTONE_INLINE Widened(const void* p, int64_t first, int64_t cols) {
    for (int r = 0; r < kRows; ++r) rows[r] = static_cast<const T*>(p) + (first + r) * cols;
  }
  // The first time an element is read.
  template <bool kFull>
  HALFTONE_INLINE F32 read(int r, int64_t c, Constant<kFull> full, int64_t count) {
    const F32 value = look(r, c, full, count);
    keep(r, c, value, full, count);
    return value;
  }
  template <bool kFull>
  HALFTONE_INLINE F32 look(int r, int64_t c, Constant<kFull> full, int64_t count) const {
    prefetch(rows[r] + c);
    return load_part(rows[r] + c, full, count);
  }
  // What `again` is to give; fp32 goes on giving what lies in the row.
  template <bool kFull>
  HALFTONE_INLINE void keep(int r, int64_t c, F32 value, Constant<kFull> full, int64_t count) {
    if constexpr (kCopies) store_part(copy[r] + c, value, full, count);
  }
  template <bool kFull>
  HALFTONE_INLINE F32 again(int r, int64_t c, Constant<kFull> full, int64_t count) const {
    return load_part(kept_row(r) + c, full, count);
  }
  HALFTONE_INLINE const float* kept_row(int r) const {
    if constexpr (kCopies) {
      return copy[r];
    } else {
      return rows[r];
    }
  }
};

// `after` where the lanes are of elements, `before` elsewhere.
template <bool kFull>
HALFTONE_INLINE F32 kept(F32 before, F32 after, Constant<kFull>, int64_t count) {
  if constexpr (kFull) {
    return after;
  } else {
    return select(first_lanes(count), after, before);
  }
}

// The columns' parameters as floats, once for all rows; null stays null.
template <class T>
HALFTONE_INLINE const float* widened(const T* parameter, int64_t cols, float* copy) {
  if (parameter == nullptr) return nullptr;
  if constexpr (sizeof(T) == sizeof(float)) {
    return parameter;
  } else {
    for_vectors(cols, [&](int64_t c, auto full, int64_t count) {
      store_part(copy + c, load_part(parameter + c, full, count), full, count);
    });
    return copy;
  }
}

template <bool has_scale, bool has_bias, class P, bool kFull>
HALFTONE_INLINE F32 affine(F32 z, const P* scale, const P* bias, int64_t c, Constant<kFull> full,
                           int64_t count) {
  if constexpr (has_scale && has_bias) {
    return fma(z, load_part(scale + c, full, count), load_part(bias + c, full, count));
  } else if constexpr (has_bias) {
    return z + load_part(bias + c, full, count);
  } else if constexpr (has_scale) {
    return z * load_part(scale + c, full, count);
  } else {
    return z;
  }
}

// The last pass over `kRows` rows, `cols` columns apart in y. What lies behind a loop over all columns is a
// function of its own where it depends on fewer things than the loop before: there are fewer to compile.
template <bool kCentred, bool has_scale, bool has_bias, int kRows, class P, class T>
[[gnu::noinline]] void write_normalized(const P* const* rows, const F32* means, const F32* inverses,
                                        const P* scale, const P* bias, T* y, int64_t cols) {
  const P* x[kRows];
  F32 centre[kRows];
  F32 inverse[kRows];
  for (int r = 0; r < kRows; ++r) {
    x[r] = rows[r];
    centre[r] = means[r];
    inverse[r] = inverses[r];
  }
  for_vectors(cols, [&](int64_t c, auto full, int64_t count) {
    for (int r = 0; r < kRows; ++r) {
      prefetch(y + r * cols + c);
      const F32 value = load_part(x[r] + c, full, count);
      const F32 z = (kCentred ? value - centre[r] : value) * inverse[r];
      store_part(y + r * cols + c, affine<has_scale, has_bias>(z, scale, bias, c, full, count), full, count);
    }
  });
}
template <bool kCentred, int kRows, class P, class T>
HALFTONE_INLINE void write_rows(const P* const* rows, const F32* means, const F32* inverses, const P* scale,
                                const P* bias, T* y, int64_t cols) {
  choose(scale != nullptr, [&](auto has_scale) {
    choose(bias != nullptr, [&](auto has_bias) {
      write_normalized<kCentred, has_scale.value, has_bias.value, kRows>(rows, means, inverses, scale, bias,
                                                                         y, cols);
    });
  });
}

template <Normalization kind, int kRows, class T>
HALFTONE_INLINE void normalize_together(const NormalizeArgs& a, const RowSpread<float>& s, int64_t first,
                                        const float* scale, const float* bias) {
  constexpr bool kCentred = kind == Normalization::kLayer;
  Widened<kRows, T> x(a.x, first, a.cols);
  float mean[kRows] = {};
  F32 centre[kRows];
  F32 lanes[kRows];
  for (int r = 0; r < kRows; ++r) lanes[r] = centre[r] = F32(0.0F);
  if constexpr (kCentred) {
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      for (int r = 0; r < kRows; ++r) lanes[r] = lanes[r] + x.read(r, c, full, count);
    });
    for (int r = 0; r < kRows; ++r) {
      mean[r] = tree_sum(lanes[r]) / static_cast<float>(a.cols);
      centre[r] = F32(mean[r]);
      lanes[r] = F32(0.0F);
    }
  }
  for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
    for (int r = 0; r < kRows; ++r) {
      const F32 value = kCentred ? x.again(r, c, full, count) : x.read(r, c, full, count);
      if constexpr (kind == Normalization::kL1) {
        lanes[r] = kept(lanes[r], lanes[r] + abs(value), full, count);
      } else {
        const F32 d = kCentred ? value - centre[r] : value;
        lanes[r] = kept(lanes[r], fma(d, d, lanes[r]), full, count);
      }
    }
  });
  const float* rows[kRows];
  F32 inverse[kRows];
  for (int r = 0; r < kRows; ++r) {
    const float spread = spread_of<kind>(tree_sum(lanes[r]), s);
    inverse[r] = F32(s.inverse(spread));
    rows[r] = x.kept_row(r);
    if (a.mean_out != nullptr) static_cast<float*>(a.mean_out)[first + r] = mean[r];
    if (a.spread_out != nullptr) static_cast<float*>(a.spread_out)[first + r] = spread;
  }
  T* y = static_cast<T*>(a.y) + first * a.cols;
  write_rows<kCentred, kRows>(rows, centre, inverse, scale, bias, y, a.cols);
}

// Longer rows, each alone.
template <Normalization kind, class T>
void normalize_long_rows(const NormalizeArgs& a) {
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
    write_rows<kCentred, 1>(&x, &centre, &inverse, scale, bias, y, a.cols);
  }
}

template <Normalization kind, class T>
void normalize_rows(const NormalizeArgs& a) {
  if (a.cols > kWidenedColumns) return normalize_long_rows<kind, T>(a);
  const RowSpread<float> s(a.spread);
  constexpr int64_t kCopied = sizeof(T) == sizeof(float) ? 1 : kWidenedColumns + 2 * kLanes;
  alignas(64) float copies[2][kCopied];
  const float* scale = widened(static_cast<const T*>(a.scale), a.cols, copies[0]);
  const float* bias = widened(static_cast<const T*>(a.bias), a.cols, copies[1]);
  int64_t r = 0;
  for (; r + kRowsTogether <= a.rows; r += kRowsTogether)
    normalize_together<kind, kRowsTogether, T>(a, s, r, scale, bias);
  for (; r < a.rows; ++r) normalize_together<kind, 1, T>(a, s, r, scale, bias);
}

template <bool has_scale, class P, bool kFull>
HALFTONE_INLINE F32 scaled(F32 d, const P* scale, int64_t c, Constant<kFull> full, int64_t count) {
  if constexpr (has_scale) {
    return d * load_part(scale + c, full, count);
  } else {
    return d;
  }
}

// The last pass of the gradient over `kRows` rows, as write_normalized. x: xhat already where kNormalised.
template <class P, class T>
struct GradRows {
  const P* const* x;
  const P* const* dy;
  const F32* means;
  const F32* inverses;
  const F32* shifts;
  const F32* minus_cs;
  const P* scale;
  T* dx;  // `cols` columns apart
  float* sum_dy;
  float* sum_dyx;
  int64_t cols;
};
template <Normalization kind, bool kNormalised, bool has_scale, bool has_dx, bool has_sums, int kRows,
          class P, class T>
[[gnu::noinline]] void write_gradient(const GradRows<P, T>& a) {
  constexpr bool kCentred = kind == Normalization::kLayer;
  const P* x[kRows];
  const P* dy[kRows];
  F32 mean[kRows], inverse[kRows], shift[kRows], minus_c[kRows];
  for (int r = 0; r < kRows; ++r) {
    x[r] = a.x[r];
    dy[r] = a.dy[r];
    mean[r] = a.means[r];
    inverse[r] = a.inverses[r];
    shift[r] = a.shifts[r];
    minus_c[r] = a.minus_cs[r];
  }
  const P* scale = a.scale;
  T* dx = a.dx;
  float* sum_dy = a.sum_dy;
  float* sum_dyx = a.sum_dyx;
  const int64_t cols = a.cols;
  for_vectors(cols, [&](int64_t c, auto full, int64_t count) {
    F32 total_dy(0.0F);
    F32 total_dyx(0.0F);
    if constexpr (has_sums) {
      total_dy = load_part(sum_dy + c, full, count);
      total_dyx = load_part(sum_dyx + c, full, count);
    }
    for (int r = 0; r < kRows; ++r) {
      const F32 value = load_part(x[r] + c, full, count);
      const F32 d = load_part(dy[r] + c, full, count);
      const F32 h = kNormalised ? value : (kCentred ? value - mean[r] : value) * inverse[r];
      if constexpr (has_dx) {
        const F32 along = kind == Normalization::kL1 ? sign_of(value) : h;
        const F32 g = scaled<has_scale>(d, scale, c, full, count);
        prefetch(dx + r * cols + c);
        store_part(dx + r * cols + c, inverse[r] * fma(along, minus_c[r], kCentred ? g - shift[r] : g), full,
                   count);
      }
      if constexpr (has_sums) {
        total_dy = total_dy + d;
        total_dyx = fma(d, h, total_dyx);
      }
    }
    if constexpr (has_sums) {
      store_part(sum_dy + c, total_dy, full, count);
      store_part(sum_dyx + c, total_dyx, full, count);
    }
  });
}
template <Normalization kind, bool kNormalised, bool has_scale, int kRows, class P, class T>
HALFTONE_INLINE void write_gradient_rows(const GradRows<P, T>& a) {
  if (a.dx == nullptr) {
    // The sums know no scale.
    if (a.sum_dy != nullptr) write_gradient<kind, kNormalised, false, false, true, kRows>(a);
  } else {
    choose(a.sum_dy != nullptr, [&](auto has_sums) {
      write_gradient<kind, kNormalised, has_scale, true, has_sums.value, kRows>(a);
    });
  }
}

template <Normalization kind, bool has_scale, int kRows, class T>
HALFTONE_INLINE void normalize_grad_together(const NormalizeGradArgs& a, const RowSpread<float>& s,
                                             int64_t first, const float* scale) {
  constexpr bool kCentred = kind == Normalization::kLayer;
  constexpr bool kKeepsNormalised = sizeof(T) != sizeof(float) && kind != Normalization::kL1;
  Widened<kRows, T> x(a.x, first, a.cols);
  Widened<kRows, T> dy(a.dy, first, a.cols);
  F32 mean[kRows], inverse[kRows], shift[kRows], minus_c[kRows], g_lanes[kRows], gx_lanes[kRows];
  for (int r = 0; r < kRows; ++r) {
    mean[r] = F32(kCentred ? static_cast<const float*>(a.mean)[first + r] : 0.0F);
    inverse[r] = F32(s.inverse(static_cast<const float*>(a.spread_saved)[first + r]));
    shift[r] = minus_c[r] = g_lanes[r] = gx_lanes[r] = F32(0.0F);
  }
  for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
    for (int r = 0; r < kRows; ++r) {
      const F32 g = scaled<has_scale>(dy.read(r, c, full, count), scale, c, full, count);
      const F32 value = x.look(r, c, full, count);
      const F32 h = (kCentred ? value - mean[r] : value) * inverse[r];
      x.keep(r, c, kKeepsNormalised ? h : value, full, count);
      gx_lanes[r] = kept(gx_lanes[r], fma(g, h, gx_lanes[r]), full, count);
      if constexpr (kCentred) g_lanes[r] = kept(g_lanes[r], g_lanes[r] + g, full, count);
    }
  });
  const float* x_rows[kRows];
  const float* dy_rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    shift[r] = F32(tree_sum(g_lanes[r]) / static_cast<float>(a.cols));
    const float spread = static_cast<const float*>(a.spread_saved)[first + r];
    minus_c[r] = F32(s.template minus_c<kind>(spread, tree_sum(gx_lanes[r])));
    x_rows[r] = x.kept_row(r);
    dy_rows[r] = dy.kept_row(r);
  }
  write_gradient_rows<kind, kKeepsNormalised, has_scale, kRows>(
      GradRows<float, T>{x_rows, dy_rows, mean, inverse, shift, minus_c, scale,
                         a.dx == nullptr ? nullptr : static_cast<T*>(a.dx) + first * a.cols,
                         static_cast<float*>(a.sum_dy), static_cast<float*>(a.sum_dyx), a.cols});
}

// Longer rows, each alone.
template <Normalization kind, bool has_scale, class T>
void normalize_grad_long_rows(const NormalizeGradArgs& a) {
  constexpr bool kCentred = kind == Normalization::kLayer;
  const RowSpread<float> s(a.spread);
  const T* scale = static_cast<const T*>(a.scale);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
    T* dx = a.dx == nullptr ? nullptr : static_cast<T*>(a.dx) + r * a.cols;
    const F32 mean(kCentred ? static_cast<const float*>(a.mean)[r] : 0.0F);
    const float spread = static_cast<const float*>(a.spread_saved)[r];
    const F32 inverse(s.inverse(spread));
    const auto normalised = [&](F32 value) { return (kCentred ? value - mean : value) * inverse; };
    F32 shift(0.0F);
    F32 minus_c(0.0F);
    if (dx != nullptr) {
      const auto g = [&](int64_t i, auto full, int64_t count) {
        return scaled<has_scale>(load_part(dy + i, full, count), scale, i, full, count);
      };
      if constexpr (kCentred)
        shift = F32(row_sum(a.cols, [&](F32 lanes, int64_t i, auto full,
                                        int64_t count) { return lanes + g(i, full, count); }) /
                    static_cast<float>(a.cols));
      minus_c = F32(s.template minus_c<kind>(
          spread, row_sum(a.cols, [&](F32 lanes, int64_t i, auto full, int64_t count) {
            return fma(g(i, full, count), normalised(load_part(x + i, full, count)), lanes);
          })));
    }
    write_gradient_rows<kind, false, has_scale, 1>(GradRows<T, T>{&x, &dy, &mean, &inverse, &shift, &minus_c,
                                                                  scale, dx, static_cast<float*>(a.sum_dy),
                                                                  static_cast<float*>(a.sum_dyx), a.cols});
  }
}

template <Normalization kind, bool has_scale, class T>
void normalize_grad_rows(const NormalizeGradArgs& a) {
  if (a.sum_dy != nullptr)
    for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
      store_part(static_cast<float*>(a.sum_dy) + c, F32(0.0F), full, count);
      store_part(static_cast<float*>(a.sum_dyx) + c, F32(0.0F), full, count);
    });
  if (a.cols > kWidenedColumns) return normalize_grad_long_rows<kind, has_scale, T>(a);
  const RowSpread<float> s(a.spread);
  alignas(64) float copy[sizeof(T) == sizeof(float) ? 1 : kWidenedColumns];
  const float* scale = widened(static_cast<const T*>(a.scale), a.cols, copy);
  int64_t r = 0;
  for (; r + kGradRowsTogether<T> <= a.rows; r += kGradRowsTogether<T>)
    normalize_grad_together<kind, has_scale, kGradRowsTogether<T>, T>(a, s, r, scale);
  for (; r < a.rows; ++r) normalize_grad_together<kind, has_scale, 1, T>(a, s, r, scale);
}

}  // namespace

void normalize(const NormalizeArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.kind, [&](auto kind) { normalize_rows<kind.value, T>(a); });
  });
  if (!done) ref_fma::kernels().normalization->normalize(a);
}

void normalize_grad(const NormalizeGradArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.kind, [&](auto kind) {
      choose(a.scale != nullptr,
             [&](auto has_scale) { normalize_grad_rows<kind.value, has_scale.value, T>(a); });
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
namespace {

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
  for_vectors(2 * padded,
              [&](int64_t i, auto full, int64_t count) { store_part(squares + i, F32(0.0F), full, count); });
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
        store_part(y + c,
                   fma(back * load_part(x + c, full, count), window_sum(terms, c, full, count), direct), full,
                   count);
      });
    }
  }
}

}  // namespace

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

}  // namespace halftone::kern::HALFTONE_KERN_NS
