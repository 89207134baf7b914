#include "kern/reduce.h"

#include "kern/lane/table.h"
#include "kern/simd/columns.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <Reduce op>
HALFTONE_INLINE F32 first_value() {
  if (op == Reduce::kMax) return F32(-kInfinity);
  if (op == Reduce::kMin) return F32(kInfinity);
  return F32(op == Reduce::kProduct || op == Reduce::kOneZeroProduct ? 1.0F : 0.0F);
}

template <Reduce op, class T>
HALFTONE_INLINE float reduce_row(const T* x, int64_t n) {
  F32 lanes = first_value<op>();
  int64_t zeros = 0;
  for_vectors(n, [&](int64_t i, auto full, int64_t count) {
    const F32 value = load_part(x + i, full, count);
    // A lane past the end adds a zero; where that would change it, it stays.
    if constexpr (op == Reduce::kSum) lanes = lanes + value;
    if constexpr (op == Reduce::kSumSquares) lanes = fma(value, value, lanes);
    if constexpr (op == Reduce::kSumAbs) lanes = lanes + abs(value);
    if constexpr (op == Reduce::kOneZeroProduct) {
      const auto zero = value == F32(0.0F);
      lanes = lanes * select(zero, F32(1.0F), value);
      zeros += __builtin_popcount(lane_bits(zero) & (full.value ? 0xFFFFU : (1U << count) - 1U));
    }
    if constexpr (op == Reduce::kMax || op == Reduce::kMin || op == Reduce::kProduct) {
      const F32 next = op == Reduce::kMax   ? larger(lanes, value)
                       : op == Reduce::kMin ? smaller(lanes, value)
                                            : lanes * value;
      lanes = full.value ? next : select(first_lanes(count), next, lanes);
    }
  });
  if constexpr (op == Reduce::kMax) return tree_max(lanes);
  if constexpr (op == Reduce::kMin) return tree(lanes, [](F32 a, F32 b) { return smaller(a, b); });
  if constexpr (op == Reduce::kProduct || op == Reduce::kOneZeroProduct) {
    const float product = tree(lanes, [](F32 a, F32 b) { return a * b; });
    return op == Reduce::kProduct || zeros == 1 ? product : 0.0F;
  }
  return tree_sum(lanes);
}

template <class T>
HALFTONE_INLINE float log_sum_exp(const T* x, int64_t n) {
  const float max = reduce_row<Reduce::kMax>(x, n);
  const F32 shift(select(abs(max) == kInfinity, 0.0F, max));
  F32 lanes(0.0F);
  for_vectors(n, [&](int64_t i, auto full, int64_t count) {
    const F32 next = lanes + exp(load_part(x + i, full, count) - shift);
    lanes = full.value ? next : select(first_lanes(count), next, lanes);
  });
  return lane0(shift + log(F32(tree_sum(lanes))));
}

}  // namespace

void reduce_rows(const ReduceRowsArgs& a) noexcept {
  // Counting and searching: nothing that the order of the lanes could change.
  if (a.op == Reduce::kFirstMax || a.op == Reduce::kCountEqual) {
    ref_fma::kernels().reduce_rows(a);
    return;
  }
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.op, [&](auto op) {
      if constexpr (op.value != Reduce::kFirstMax && op.value != Reduce::kCountEqual) {
        for (int64_t r = 0; r < a.rows; ++r) {
          const T* x = static_cast<const T*>(a.x) + r * a.row_stride;
          float* out = static_cast<float*>(a.out) + r;
          if constexpr (op.value == Reduce::kLogSumExp) {
            *out = log_sum_exp(x, a.cols);
          } else {
            *out = reduce_row<op.value>(x, a.cols);
          }
        }
      }
    });
  });
  if (!done) ref_fma::kernels().reduce_rows(a);
}

void sum_columns(const SumColumnsArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    float* const out[1] = {static_cast<float*>(a.out)};
    column_sums<1>(a.rows, a.cols, out, [&](int64_t r, int64_t c, auto full, int64_t count, auto& sums) {
      sums[0] = sums[0] + load_part(x + r * a.row_stride + c, full, count);
    });
  });
  if (!done) ref_fma::kernels().sum_columns(a);
}

void norm(const NormArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    F64 lanes = zero_f64();
    U32 largest(0U);  // magnitude bits: infinity and NaN are above all finite ones
    map_only(static_cast<const T*>(a.x), a.n, [&](F32 x) {
      lanes = add_square(lanes, x);
      const U32 magnitude = bits(x) & U32(0x7FFFFFFFU);
      largest = select(less(largest, magnitude), magnitude, largest);
    });
    alignas(64) double sums[kLanes];
    store16(sums, lanes);
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
      for (int64_t l = 0; l < half; ++l) sums[l] = sums[l] + sums[l + half];
    *a.sum_squares = sums[0];
    *a.finite = lane_bits(less(U32(0x7F7FFFFFU), largest)) == 0;
  });
  if (!done) ref_fma::kernels().norm(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
