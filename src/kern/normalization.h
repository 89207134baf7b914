// Kernels of rows that are normalised by their own mean and size. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

struct NormalizationKernels {};

}  // namespace halftone::kern
