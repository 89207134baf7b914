// Kernels that move elements by indices, and those of integers and booleans. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

struct IndexKernels {};

}  // namespace halftone::kern
