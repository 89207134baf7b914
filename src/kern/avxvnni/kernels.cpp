// AVX-VNNI: avx2's kernels, but for `block`, whose products and sums are one instruction (vpdpwssd).
#include "kern/overlay.h"
#include "kern/simd/matrix_kinds.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

bool is_block(const Product& product) {
  return product.multiply == Multiply::kBlock;
}

void plan(ProductPlan& plan) noexcept {
  product::plan_kind(plan);
}
Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  return product::written_kind(plan, chunk);
}
void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  plan.product.dtype == DType::kF16 ? product::run_kind<num::Fp16, true>(plan, x, stage, chunk, worker)
                                    : product::run_kind<num::Bf16, true>(plan, x, stage, chunk, worker);
}
MatrixKernels block_kernels() {
  return {plan, written, run, false};
}

}  // namespace

MatrixKernels matrix_kernels() {
  return Overlay<is_block, block_kernels, avx2::matrix_kernels>::kernels(false);
}

const Kernels& kernels() {
  static const Kernels table = with(matrix_kernels(), avx2::kernels());
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
