#pragma once

#include "kern/matrix.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// MatrixKernels::plan and run of products with Multiply::kHalf.
void half_plan(ProductPlan& plan) noexcept;
void half_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
              int worker) noexcept;

}  // namespace halftone::kern::HALFTONE_KERN_NS
