// The kernels of kern/index.h in one build, by subject; index.cpp puts them into their table. And what they
// share: a choice of the type among all, floats and whole numbers.
#pragma once

#include "kern/index.h"
#include "kern/lane/choose.h"

namespace halftone::kern::HALFTONE_KERN_NS {

int64_t integer_binary(const IntegerBinaryArgs& a) noexcept;
int64_t integer_unary(const IntegerUnaryArgs& a) noexcept;
void compare(const CompareArgs& a) noexcept;
void select_elements(const SelectArgs& a) noexcept;
void classify(const ClassifyArgs& a) noexcept;
int64_t cast(const CastArgs& a) noexcept;
int64_t resolve_rows(const ResolveRowsArgs& a) noexcept;
void gather_rows(const GatherRowsArgs& a) noexcept;
void last_slots(const LastSlotsArgs& a) noexcept;
void group_rows(const GroupRowsArgs& a) noexcept;
int64_t scatter_rows(const ScatterRowsArgs& a) noexcept;
int64_t cum_sum(const CumSumArgs& a) noexcept;
void arg_extreme(const ArgExtremeArgs& a) noexcept;
void top_k(const TopKArgs& a) noexcept;
int64_t integer_reduce(const IntegerReduceArgs& a) noexcept;

template <class F>
HALFTONE_INLINE void choose_integer(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kI64:
      return f(Type<int64_t>{});
    case DType::kI32:
      return f(Type<int32_t>{});
    default:
      return f(Type<uint8_t>{});
  }
}
// Float types first, then whole numbers.
template <class F>
HALFTONE_INLINE void choose_any(DType dtype, F&& f) {
  if (dtype == DType::kF64) {
    f(Type<double>{});
  } else if (!choose_storage(dtype, f)) {
    choose_integer(dtype, f);
  }
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
