// Rounding of fp32 as storage in 16 bits would round it, if only its precision counted.
#pragma once

#include <cstdint>

namespace halftone::kern {

// Rounds to `bits` significant bits, nearest, ties to even, within fp32's range. Infinities and NaNs stay.
void round_significands(float* x, int64_t n, int bits);

}  // namespace halftone::kern
