#include "kern/lane/table.h"
#include "kern/reduce.h"
#include "kern/simd/columns.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <Reduce op, class T>
HALFTONE_INLINE float reduce_row(const T* x, int64_t n) {
  F32 lanes(op == Reduce::kMax ? -kInfinity : 0.0F);
  for_vectors(n, [&](int64_t i, auto full, int64_t count) {
    const F32 value = load_part(x + i, full, count);
    // A lane past the end adds a zero; for the maximum it stays.
    if constexpr (op == Reduce::kSum) lanes = lanes + value;
    if constexpr (op == Reduce::kSumSquares) lanes = fma(value, value, lanes);
    if constexpr (op == Reduce::kMax) {
      const F32 next = larger(lanes, value);
      lanes = full.value ? next : select(first_lanes(count), next, lanes);
    }
  });
  return op == Reduce::kMax ? tree_max(lanes) : tree_sum(lanes);
}

}  // namespace

void reduce_rows(const ReduceRowsArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.op, [&](auto op) {
      for (int64_t r = 0; r < a.rows; ++r)
        static_cast<float*>(a.out)[r] =
            reduce_row<op.value>(static_cast<const T*>(a.x) + r * a.row_stride, a.cols);
    });
  });
  if (!done) ref_fma::kernels().reduce_rows(a);
}

void sum_columns(const SumColumnsArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    float* const out[1] = {static_cast<float*>(a.out)};
    column_sums<1>(a.rows, a.cols, a.accumulate, out,
                   [&](int64_t r, int64_t c, auto full, int64_t count, auto& sums) {
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
