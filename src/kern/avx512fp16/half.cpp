// Products in fp16 arithmetic (`half`): simd/'s code for `block` over pairs of fp16.
#define HALFTONE_KERN_HALF 1
#include "kern/avx512fp16/half.h"

#include "kern/simd/matrix_conv.h"
#include "kern/simd/matrix_grad_weight.h"
#include "kern/simd/matrix_matmul.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void half_plan(ProductPlan& plan) noexcept {
  using namespace product;
  switch (plan.product.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      return conv_plan(plan);
    case ProductKind::kConvGradWeight:
      return grad_weight_plan(plan);
    case ProductKind::kMatMul:
      return matmul_plan(plan);
  }
}

Written half_written(const ProductPlan& plan, int64_t chunk) noexcept {
  using namespace product;
  return conv_written(ConvWork(plan.product, plan.threads), chunk);
}

void half_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
              int worker) noexcept {
  using namespace product;
  switch (plan.product.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      return conv_run<num::Fp16, true>(plan, x, stage, chunk, worker);
    case ProductKind::kConvGradWeight:
      return grad_weight_run<num::Fp16, true>(plan, x, stage, chunk, worker);
    case ProductKind::kMatMul:
      return matmul_run<num::Fp16, true>(plan, x, stage, chunk, worker);
  }
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
