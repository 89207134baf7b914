#include "kern/reduce.h"

#include "kern/lane/formula.h"
#include "kern/lane/table.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <Reduce op, class R>
R first_value() {
  if (op == Reduce::kMax) return R(-kInfinity);
  if (op == Reduce::kMin) return R(kInfinity);
  return op == Reduce::kProduct || op == Reduce::kOneZeroProduct ? R(1) : R(0);
}

template <Reduce op, class T>
Register<T> reduce_row(const T* x, int64_t n) {
  using R = Register<T>;
  R lanes[kLanes];
  for (R& lane : lanes) lane = first_value<op, R>();
  int64_t zeros = 0;
  for (int64_t i = 0; i < n; ++i) {
    R& lane = lanes[i % kLanes];
    const R value = load(x + i);
    if constexpr (op == Reduce::kSum) lane = lane + value;
    if constexpr (op == Reduce::kSumSquares) lane = fma(value, value, lane);
    if constexpr (op == Reduce::kSumAbs) lane = lane + abs(value);
    if constexpr (op == Reduce::kMax) lane = larger(lane, value);
    if constexpr (op == Reduce::kMin) lane = smaller(lane, value);
    if constexpr (op == Reduce::kProduct) lane = lane * value;
    if constexpr (op == Reduce::kOneZeroProduct) {
      lane = lane * select(value == R(0), R(1), value);
      zeros += value == R(0) ? 1 : 0;
    }
  }
  if constexpr (op == Reduce::kMax) return tree(lanes, [](R a, R b) { return larger(a, b); });
  if constexpr (op == Reduce::kMin) return tree(lanes, [](R a, R b) { return smaller(a, b); });
  if constexpr (op == Reduce::kProduct || op == Reduce::kOneZeroProduct) {
    const R product = tree(lanes, [](R a, R b) { return a * b; });
    return op == Reduce::kProduct || zeros == 1 ? product : R(0);
  }
  return tree_sum(lanes);
}

template <class T>
Register<T> log_sum_exp(const T* x, int64_t n) {
  using R = Register<T>;
  const R max = reduce_row<Reduce::kMax>(x, n);
  const R shift = select(abs(max) == R(kInfinity), R(0), max);
  R lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i % kLanes] = lanes[i % kLanes] + exp(load(x + i) - shift);
  return shift + log(tree_sum(lanes));
}

template <class T>
Register<T> first_max(const T* x, int64_t n) {
  using R = Register<T>;
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i) {
    const R value = load(x + i);
    const R largest = load(x + best);
    if (largest == largest && (value > largest || value != value)) best = i;
  }
  return static_cast<R>(best);
}

template <class T>
Register<T> count_equal(const T* x, int64_t n, Register<T> with) {
  using R = Register<T>;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += load(x + i) == with ? 1 : 0;
  return static_cast<R>(count);
}

}  // namespace

void reduce_rows(const ReduceRowsArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    choose(a.op, [&](auto op) {
      for (int64_t r = 0; r < a.rows; ++r) {
        const T* x = static_cast<const T*>(a.x) + r * a.row_stride;
        R* out = static_cast<R*>(a.out) + r;
        if constexpr (op.value == Reduce::kLogSumExp) {
          *out = log_sum_exp(x, a.cols);
        } else if constexpr (op.value == Reduce::kFirstMax) {
          *out = first_max(x, a.cols);
        } else if constexpr (op.value == Reduce::kCountEqual) {
          *out = count_equal(x, a.cols, a.with == nullptr ? R(0) : load(static_cast<const T*>(a.with) + r));
        } else {
          *out = reduce_row<op.value>(x, a.cols);
        }
      }
    });
  });
}

void sum_columns(const SumColumnsArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    R* out = static_cast<R*>(a.out);
    for (int64_t c = 0; c < a.cols; ++c) {
      R sum = 0;
      for (int64_t r = 0; r < a.rows; ++r) sum = sum + load(x + r * a.row_stride + c);
      out[c] = sum;
    }
  });
}

void norm(const NormArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    double lanes[kLanes] = {};
    bool finite = true;
    for (int64_t i = 0; i < a.n; ++i) {
      const Register<T> value = load(x + i);
      const double wide = static_cast<double>(value);
      lanes[i % kLanes] = fma(wide, wide, lanes[i % kLanes]);
      finite = finite && abs(value) < Register<T>(kInfinity);
    }
    *a.sum_squares = tree_sum(lanes);
    *a.finite = finite;
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
