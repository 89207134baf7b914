#include "kern/lane/formula.h"
#include "kern/lane/table.h"
#include "kern/reduce.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <Reduce op, class T>
Register<T> reduce_row(const T* x, int64_t n) {
  using R = Register<T>;
  R lanes[kLanes];
  for (R& lane : lanes) lane = op == Reduce::kMax ? R(-kInfinity) : R(0);
  for (int64_t i = 0; i < n; ++i) {
    R& lane = lanes[i % kLanes];
    const R value = load(x + i);
    if constexpr (op == Reduce::kSum) lane = lane + value;
    if constexpr (op == Reduce::kSumSquares) lane = fma(value, value, lane);
    if constexpr (op == Reduce::kMax) lane = larger(lane, value);
  }
  if constexpr (op == Reduce::kMax) return tree(lanes, [](R a, R b) { return larger(a, b); });
  return tree_sum(lanes);
}

}  // namespace

void reduce_rows(const ReduceRowsArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.op, [&](auto op) {
      for (int64_t r = 0; r < a.rows; ++r)
        static_cast<Register<T>*>(a.out)[r] =
            reduce_row<op.value>(static_cast<const T*>(a.x) + r * a.row_stride, a.cols);
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
      R sum = a.accumulate ? out[c] : R(0);
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
