// AVX-512 with fp16 arithmetic: avx512's kernels, and `half` besides.
#include "kern/avx512fp16/half.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

bool is_half(const ProductPlan& plan) {
  return plan.product.multiply == Multiply::kHalf;
}

void plan(ProductPlan& plan) noexcept {
  is_half(plan) ? half_plan(plan) : avx512::matrix_kernels().plan(plan);
}
Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  return is_half(plan) ? half_written(plan, chunk) : avx512::matrix_kernels().written(plan, chunk);
}
void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  is_half(plan) ? half_run(plan, x, stage, chunk, worker)
                : avx512::matrix_kernels().run(plan, x, stage, chunk, worker);
}

Kernels with_half(Kernels kernels) {
  kernels.matrix = matrix_kernels();
  return kernels;
}

}  // namespace

MatrixKernels matrix_kernels() {
  return {plan, written, run, true};
}

const Kernels& kernels() {
  static const Kernels table = with_half(avx512::kernels());
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
