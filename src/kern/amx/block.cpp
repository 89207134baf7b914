// `block` on tiles: from a plan to the code for its kind and type.
#include "kern/amx/block.h"

#include "kern/amx/conv.h"
#include "kern/amx/grad_weight.h"
#include "kern/amx/matmul.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <class T>
void run_as(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  using namespace product;
  switch (plan.product.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      return tile_conv_run<T>(plan, x, stage, chunk, worker);
    case ProductKind::kConvGradWeight:
      return tile_grad_weight_run<T>(plan, x, stage, chunk, worker);
    case ProductKind::kMatMul:
      return tile_matmul_run<T>(plan, x, stage, chunk, worker);
  }
}

}  // namespace

bool on_tiles(const Product& product) noexcept {
  if (product.multiply != Multiply::kBlock) return false;
  // Measured: below these, packing planes costs more than tiles save, or channels fill too little of a step
  // of 64.
  const ConvGeometry& g = product.conv;
  const MatMulGeometry& m = product.matmul;
  switch (product.kind) {
    case ProductKind::kConv:
      return g.c / g.group >= 32;
    case ProductKind::kConvGradInput:
      return g.o / g.group >= 32;
    case ProductKind::kConvGradWeight: {
      const int64_t in = g.c / g.group;
      const int64_t out = g.o / g.group;
      return g.kh * g.kw > 1 ? in >= 64 && out >= 64 : in * out >= 128 * 128;
    }
    case ProductKind::kMatMul:
      return m.m >= 64 && m.n >= 32 && m.k >= 64;
  }
  return false;
}

void block_plan(ProductPlan& plan) noexcept {
  using namespace product;
  switch (plan.product.kind) {
    case ProductKind::kConv:
    case ProductKind::kConvGradInput:
      return tile_conv_plan(plan);
    case ProductKind::kConvGradWeight:
      return tile_grad_weight_plan(plan);
    case ProductKind::kMatMul:
      return tile_matmul_plan(plan);
  }
}

Written block_written(const ProductPlan& plan, int64_t chunk) noexcept {
  return product::tile_conv_written(plan, chunk);
}

void block_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
               int worker) noexcept {
  plan.product.dtype == DType::kF16 ? run_as<num::Fp16>(plan, x, stage, chunk, worker)
                                    : run_as<num::Bf16>(plan, x, stage, chunk, worker);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
