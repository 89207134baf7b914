// From a product (none that is depthwise) to the code for its kind.
#pragma once

#include "kern/simd/matrix_conv.h"
#include "kern/simd/matrix_grad_weight.h"
#include "kern/simd/matrix_matmul.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

inline void plan_kind(ProductPlan& plan) {
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

inline Written written_kind(const ProductPlan& plan, int64_t chunk) {
  return conv_written(work_of<ConvWork>(plan), chunk);
}

template <class T, bool kBlock>
void run_kind(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  switch (plan.product.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      return conv_run<T, kBlock>(plan, x, stage, chunk, worker);
    case ProductKind::kConvGradWeight:
      return grad_weight_run<T, kBlock>(plan, x, stage, chunk, worker);
    case ProductKind::kMatMul:
      return matmul_run<T, kBlock>(plan, x, stage, chunk, worker);
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
