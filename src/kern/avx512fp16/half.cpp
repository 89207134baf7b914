// Products in fp16 arithmetic (`half`): simd/'s code for `block` over pairs of fp16.
#define HALFTONE_KERN_HALF 1
#include "kern/avx512fp16/half.h"

#include "kern/simd/matrix_kinds.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void half_plan(ProductPlan& plan) noexcept {
  product::plan_kind(plan);
}

Written half_written(const ProductPlan& plan, int64_t chunk) noexcept {
  return product::written_kind(plan, chunk);
}

void half_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
              int worker) noexcept {
  product::run_kind<num::Fp16, true>(plan, x, stage, chunk, worker);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
