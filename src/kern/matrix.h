// Matrix products and convolutions: the multiply policies and their kernels.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// How products are formed and summed (docs/numerics.md). `half` is declined by every instruction set here
// that has no fp16 arithmetic.
enum class Multiply : uint8_t { kWide, kBlock };

struct MatrixKernels {};

}  // namespace halftone::kern
