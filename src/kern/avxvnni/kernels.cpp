// AVX-VNNI: avx2's kernels, but for `block`, whose products and sums are one instruction (vpdpwssd).
#include "kern/simd/matrix_kinds.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

bool is_block(const ProductPlan& plan) {
  return plan.product.multiply == Multiply::kBlock;
}

void plan(ProductPlan& plan) noexcept {
  is_block(plan) ? product::plan_kind(plan) : avx2::matrix_kernels().plan(plan);
}
Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  return is_block(plan) ? product::written_kind(plan, chunk) : avx2::matrix_kernels().written(plan, chunk);
}
void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  if (!is_block(plan)) return avx2::matrix_kernels().run(plan, x, stage, chunk, worker);
  plan.product.dtype == DType::kF16 ? product::run_kind<num::Fp16, true>(plan, x, stage, chunk, worker)
                                    : product::run_kind<num::Bf16, true>(plan, x, stage, chunk, worker);
}

Kernels with_block(Kernels kernels) {
  kernels.matrix = matrix_kernels();
  return kernels;
}

}  // namespace

MatrixKernels matrix_kernels() {
  return {plan, written, run, false};
}

const Kernels& kernels() {
  static const Kernels table = with_block(avx2::kernels());
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
