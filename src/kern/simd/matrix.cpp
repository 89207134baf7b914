// The products of one instruction set: from a plan to the code for its kind, type and policy.
#include "kern/simd/matrix_depthwise.h"
#include "kern/simd/matrix_kinds.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace product {
namespace {

void plan(ProductPlan& plan) noexcept {
  is_depthwise(plan.product) ? depthwise_plan(plan) : plan_kind(plan);
}

Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  return is_depthwise(plan.product) ? depthwise_written(work_of<DepthwiseWork>(plan), chunk)
                                    : written_kind(plan, chunk);
}

template <class T, bool kBlock>
void run_as(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  is_depthwise(plan.product) ? depthwise_run<T>(plan, x, stage, chunk, worker)
                             : run_kind<T, kBlock>(plan, x, stage, chunk, worker);
}

void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  const bool block = plan.product.multiply == Multiply::kBlock;
  if (plan.product.dtype == DType::kF16)
    block ? run_as<num::Fp16, true>(plan, x, stage, chunk, worker)
          : run_as<num::Fp16, false>(plan, x, stage, chunk, worker);
  else if (plan.product.dtype == DType::kBf16)
    block ? run_as<num::Bf16, true>(plan, x, stage, chunk, worker)
          : run_as<num::Bf16, false>(plan, x, stage, chunk, worker);
  else
    run_as<float, false>(plan, x, stage, chunk, worker);
}

}  // namespace
}  // namespace product

MatrixKernels matrix_kernels() {
  return {product::plan, product::written, product::run, false};
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
