#include "kern/normalization.h"

#include "kern/lane/spread.h"
#include "kern/lane/table.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// Pieces of a row, each over 16 lanes. term(lane, i) gives the lane after element i.
template <class R, class Term>
R row_sum(int64_t n, Term term) {
  R total = R(0);
  for (int64_t first = 0; first < n; first += kNormPiece) {
    const int64_t last = first + kNormPiece < n ? first + kNormPiece : n;
    R lanes[kLanes] = {};
    for (int64_t i = first; i < last; ++i) lanes[(i - first) % kLanes] = term(lanes[(i - first) % kLanes], i);
    const R sum = tree_sum(lanes);
    total = first == 0 ? sum : total + sum;
  }
  return total;
}

template <class T>
HALFTONE_INLINE Register<T> scaled(const T* scale, int64_t c, Register<T> x) {
  return scale == nullptr ? x : x * load(scale + c);
}

template <Normalization kind, class T>
void normalize_rows(const NormalizeArgs& a) {
  using R = Register<T>;
  const RowSpread<R> s(a.spread);
  const T* scale = static_cast<const T*>(a.scale);
  const T* bias = static_cast<const T*>(a.bias);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    T* y = static_cast<T*>(a.y) + r * a.cols;
    R mean = R(0);
    if constexpr (kind == Normalization::kLayer)
      mean =
          row_sum<R>(a.cols, [&](R lane, int64_t i) { return lane + load(x + i); }) / static_cast<R>(a.cols);
    const R total = row_sum<R>(a.cols, [&](R lane, int64_t i) {
      if constexpr (kind == Normalization::kL1) return lane + abs(load(x + i));
      const R d = kind == Normalization::kLayer ? load(x + i) - mean : load(x + i);
      return fma(d, d, lane);
    });
    const R spread = spread_of<kind>(total, s);
    const R inverse = s.inverse(spread);
    if (a.mean_out != nullptr) static_cast<R*>(a.mean_out)[r] = mean;
    if (a.spread_out != nullptr) static_cast<R*>(a.spread_out)[r] = spread;
    for (int64_t c = 0; c < a.cols; ++c) {
      const R xhat = (kind == Normalization::kLayer ? load(x + c) - mean : load(x + c)) * inverse;
      if (scale != nullptr && bias != nullptr) {
        store(y + c, fma(xhat, load(scale + c), load(bias + c)));
      } else if (bias != nullptr) {
        store(y + c, xhat + load(bias + c));
      } else {
        store(y + c, scaled(scale, c, xhat));
      }
    }
  }
}

template <Normalization kind, class T>
void normalize_grad_rows(const NormalizeGradArgs& a) {
  using R = Register<T>;
  const RowSpread<R> s(a.spread);
  const T* scale = static_cast<const T*>(a.scale);
  R* sum_dy = static_cast<R*>(a.sum_dy);
  R* sum_dyx = static_cast<R*>(a.sum_dyx);
  for (int64_t c = 0; c < a.cols && sum_dy != nullptr; ++c) sum_dy[c] = sum_dyx[c] = R(0);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
    T* dx = a.dx == nullptr ? nullptr : static_cast<T*>(a.dx) + r * a.cols;
    const R mean = kind == Normalization::kLayer ? static_cast<const R*>(a.mean)[r] : R(0);
    const R spread = static_cast<const R*>(a.spread_saved)[r];
    const R inverse = s.inverse(spread);
    const auto xhat = [&](int64_t c) {
      return (kind == Normalization::kLayer ? load(x + c) - mean : load(x + c)) * inverse;
    };
    const auto g = [&](int64_t c) { return scaled(scale, c, load(dy + c)); };
    R shift = R(0);
    R minus_c = R(0);
    if (dx != nullptr) {
      if constexpr (kind == Normalization::kLayer)
        shift = row_sum<R>(a.cols, [&](R lane, int64_t i) { return lane + g(i); }) / static_cast<R>(a.cols);
      minus_c = s.template minus_c<kind>(
          spread, row_sum<R>(a.cols, [&](R lane, int64_t i) { return fma(g(i), xhat(i), lane); }));
    }
    for (int64_t c = 0; c < a.cols; ++c) {
      const R h = xhat(c);
      const R d = load(dy + c);
      const R along = kind == Normalization::kL1 ? sign_of(load(x + c)) : h;
      const R left = kind == Normalization::kLayer ? g(c) - shift : g(c);
      if (dx != nullptr) store(dx + c, inverse * fma(along, minus_c, left));
      if (sum_dy == nullptr) continue;
      sum_dy[c] = sum_dy[c] + d;
      sum_dyx[c] = fma(d, h, sum_dyx[c]);
    }
  }
}

}  // namespace

void normalize(const NormalizeArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    choose(a.kind, [&](auto kind) { normalize_rows<kind.value, typename decltype(type)::type>(a); });
  });
}

void normalize_grad(const NormalizeGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    choose(a.kind, [&](auto kind) { normalize_grad_rows<kind.value, typename decltype(type)::type>(a); });
  });
}

void normalize_grad_columns(const NormalizeGradColumnsArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const RowSpread<R> s(a.spread);
    R* sum_dy = static_cast<R*>(a.sum_dy);
    R* sum_dyx = static_cast<R*>(a.sum_dyx);
    for (int64_t c = 0; c < a.cols; ++c) sum_dy[c] = sum_dyx[c] = R(0);
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.row_stride;
      const T* dy = static_cast<const T*>(a.dy) + r * a.row_stride;
      const R inverse = s.inverse(static_cast<const R*>(a.spread_saved)[r]);
      for (int64_t c = 0; c < a.cols; ++c) {
        const R d = a.mean == nullptr ? load(x + c) : load(x + c) - static_cast<const R*>(a.mean)[r];
        sum_dy[c] = sum_dy[c] + load(dy + c);
        sum_dyx[c] = fma(load(dy + c), d * inverse, sum_dyx[c]);
      }
    }
  });
}

// ---------------------------------------------------------------- across channels
namespace {

template <class R>
struct LrnScratch {
  R *squares, *terms;  // with zeros on both sides
  R* powers;
  int64_t window, padded;
  explicit LrnScratch(const LrnArgs& a)
      : squares(static_cast<R*>(a.scratch)),
        window(a.before + a.after + 1),
        padded(a.cols + a.before + a.after) {
    terms = squares + padded;
    powers = terms + padded;
  }
};

template <class R>
R window_sum(const R* padded, int64_t c, int64_t size) {
  R sum = R(0);
  for (int64_t k = 0; k < size; ++k) sum = sum + padded[c + k];
  return sum;
}

template <bool gradient, class T>
void lrn_rows(const LrnArgs& a) {
  using R = Register<T>;
  const LrnScratch<R> p(a);
  const R factor = static_cast<R>(a.factor);
  const R back = static_cast<R>(-2 * a.factor * a.beta);
  const R beta = static_cast<R>(a.beta);
  const R bias = static_cast<R>(a.bias);
  for (int64_t i = 0; i < p.padded; ++i) p.squares[i] = p.terms[i] = R(0);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.cols;
    T* y = static_cast<T*>(a.y) + r * a.cols;
    for (int64_t c = 0; c < a.cols; ++c) p.squares[a.before + c] = load(x + c) * load(x + c);
    if constexpr (!gradient) {
      for (int64_t c = 0; c < a.cols; ++c)
        store(y + c, load(x + c) * lrn_power(fma(factor, window_sum(p.squares, c, p.window), bias), beta));
    } else {
      const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
      for (int64_t c = 0; c < a.cols; ++c) {
        const R s = fma(factor, window_sum(p.squares, c, p.window), bias);
        p.powers[c] = lrn_power(s, beta);
        p.terms[a.after + c] = (load(dy + c) * load(x + c)) * (p.powers[c] / s);
      }
      for (int64_t c = 0; c < a.cols; ++c)
        store(y + c, fma(back * load(x + c), window_sum(p.terms, c, p.window), load(dy + c) * p.powers[c]));
    }
  }
}

}  // namespace

void lrn(const LrnArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) { lrn_rows<false, typename decltype(type)::type>(a); });
}

void lrn_grad(const LrnArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) { lrn_rows<true, typename decltype(type)::type>(a); });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
