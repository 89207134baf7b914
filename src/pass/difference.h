// How a tensor in one precision differs from the same tensor in another: what was lost, and to what.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::pass {

struct Difference {
  int64_t elements = 0;
  int64_t overflowed = 0;  // below 1e30 in the wider type (masks are beyond), not finite in the narrower one
  int64_t flushed =
      0;  // not 0 in the wider type and below the narrower type's normal numbers, 0 in the narrower one
  double largest = 0;      // the largest finite magnitude in the wider type
  double error = 0;        // sum of squares of the differences, over elements that are finite in both
  double small_error = 0;  // the part of `error` from elements below the narrower type's normal numbers
  double squares = 0;      // sum of squares in the wider type, over the same elements

  // Root of error over squares; 0 when both are 0, infinite when there is only an error.
  double relative() const;
  void add(const Difference& other);
};

// narrow, wide: `n` elements each, of any float types.
Difference difference(DType narrow_type, const void* narrow, DType wide_type, const void* wide, int64_t n);

// What kern::round_significands keeps for it: 8 for bf16, 11 for fp16.
int significant_bits(DType dtype);

}  // namespace halftone::pass
