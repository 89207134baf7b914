// The meaning of products (matrix.h), in plain loops: from a plan to the code for its kind, type and policy.
#include "kern/matrix.h"

#include "kern/ref/matrix_conv.h"
#include "kern/ref/matrix_grad_weight.h"
#include "kern/ref/matrix_matmul.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <class T, class V>
void plan_as(ProductPlan& plan) {
  using R = Register<T>;
  const Product& p = plan.product;
  const ConvGeometry& g = p.conv;
  plan.stages = 2;
  switch (p.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      plan.chunks[0] = p.kind == ProductKind::kConv ? g.o : g.c;
      plan.chunks[1] = g.n;
      plan.scratch_bytes = ConvScratch<V, R>(p, sides_of(p), nullptr, 0, plan.threads).bytes;
      break;
    case ProductKind::kConvGradWeight:
      plan.chunks[0] = p.image_groups;
      plan.chunks[1] = g.o;
      plan.scratch_bytes = GradWeightScratch<V, R>(p, nullptr, 0, plan.threads).bytes;
      break;
    case ProductKind::kMatMul: {
      const Batch batch = batch_of(p.matmul);
      plan.chunks[0] = batch.b_count;
      plan.chunks[1] = batch.count * ceil_div(p.matmul.m, kRowsPerChunk);
      plan.scratch_bytes = MatMulScratch<V, R>(p, nullptr, 0, plan.threads).bytes;
      break;
    }
  }
}

template <class T, class V>
void run_as(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  using R = Register<T>;
  const Product& p = plan.product;
  switch (p.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput: {
      const Sides sides = sides_of(p);
      const ConvScratch<V, R> scratch(p, sides, x.scratch, worker, plan.threads);
      if (stage == 0)
        arrange_weights<T>(p, x, sides, scratch, chunk);
      else
        conv_image<T>(p, x, sides, scratch, chunk);
      break;
    }
    case ProductKind::kConvGradWeight: {
      const GradWeightScratch<V, R> scratch(p, x.scratch, worker, plan.threads);
      if (stage == 0)
        grad_weight_chain<T>(p, x, scratch, chunk);
      else
        grad_weight_store<T>(p, x, scratch, chunk);
      break;
    }
    case ProductKind::kMatMul: {
      const MatMulScratch<V, R> scratch(p, x.scratch, worker, plan.threads);
      if (stage == 0)
        arrange_b<T>(p, x, scratch, chunk);
      else
        matmul_rows<T>(p, x, scratch, chunk);
      break;
    }
  }
}

void plan(ProductPlan& plan) noexcept {
  const bool block = plan.product.multiply == Multiply::kBlock;
  if (plan.product.dtype == DType::kF64)
    plan_as<double, double>(plan);
  else if (plan.product.multiply == Multiply::kHalf)
    plan_as<num::Fp16, double>(plan);
  else if (block)
    plan_as<num::Fp16, int16_t>(plan);
  else
    plan_as<float, float>(plan);
}

void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  const bool block = plan.product.multiply == Multiply::kBlock;
  switch (plan.product.dtype) {
    case DType::kF64:
      return run_as<double, double>(plan, x, stage, chunk, worker);
    case DType::kF16:
      if (plan.product.multiply == Multiply::kHalf)
        return run_as<num::Fp16, double>(plan, x, stage, chunk, worker);
      return block ? run_as<num::Fp16, int16_t>(plan, x, stage, chunk, worker)
                   : run_as<num::Fp16, float>(plan, x, stage, chunk, worker);
    case DType::kBf16:
      return block ? run_as<num::Bf16, int16_t>(plan, x, stage, chunk, worker)
                   : run_as<num::Bf16, float>(plan, x, stage, chunk, worker);
    default:
      return run_as<float, float>(plan, x, stage, chunk, worker);
  }
}

// An image's channels of all groups.
Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  const ConvGeometry& g = plan.product.conv;
  const bool forward = plan.product.kind == ProductKind::kConv;
  const int64_t pixels = forward ? g.oh * g.ow : g.h * g.w;
  return {chunk * pixels, pixels, 0, 1, forward ? g.o : g.c};
}

}  // namespace

MatrixKernels matrix_kernels() {
  return {plan, written, run, true};
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
