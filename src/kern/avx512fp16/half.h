#pragma once

#include "kern/matrix.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// MatrixKernels' functions for products with Multiply::kHalf.
void half_plan(ProductPlan& plan) noexcept;
Written half_written(const ProductPlan& plan, int64_t chunk) noexcept;
void half_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
              int worker) noexcept;

}  // namespace halftone::kern::HALFTONE_KERN_NS
