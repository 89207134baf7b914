// Whether numbers are finite, by their bits alone: as fast as memory is read, and the same on every CPU.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// Whether an infinity or a NaN is among the n elements at x. Types that are no floats have none.
bool any_non_finite(DType dtype, const void* x, int64_t n);

}  // namespace halftone::kern
