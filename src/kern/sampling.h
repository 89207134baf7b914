// Kernels of images that are resized or rearranged. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

struct SamplingKernels {};

}  // namespace halftone::kern
