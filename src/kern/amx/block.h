#pragma once

#include "kern/matrix.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// MatrixKernels' functions for the products of `block`, on tiles; and for which of them that is the faster
// way.
bool on_tiles(const Product& product) noexcept;
void block_plan(ProductPlan& plan) noexcept;
Written block_written(const ProductPlan& plan, int64_t chunk) noexcept;
void block_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
               int worker) noexcept;

}  // namespace halftone::kern::HALFTONE_KERN_NS
