// `block` on tiles: from a plan to the code for its kind and type.
#include "kern/amx/block.h"

#include "kern/amx/conv.h"
#include "kern/amx/grad_weight.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <class T>
void run_as(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  using namespace product;
  if (plan.product.kind == ProductKind::kConvGradWeight)
    tile_grad_weight_run<T>(plan, x, stage, chunk, worker);
  else
    tile_conv_run<T>(plan, x, stage, chunk, worker);
}

}  // namespace

bool on_tiles(const Product& product) noexcept {
  if (product.multiply != Multiply::kBlock || product.kind == ProductKind::kMatMul) return false;
  // Measured: below these, packing planes costs more than tiles save, or channels fill too little of a step of 64.
  const ConvGeometry& g = product.conv;
  const int64_t in = g.c / g.group;
  const int64_t out = g.o / g.group;
  switch (product.kind) {
    case ProductKind::kConv:
      return in >= 32;
    case ProductKind::kConvGradInput:
      return out >= 32;
    default:
      return g.kh * g.kw > 1 ? in >= 64 && out >= 64 : in * out >= 256 * 256;
  }
}

void block_plan(ProductPlan& plan) noexcept {
  if (plan.product.kind == ProductKind::kConvGradWeight)
    product::tile_grad_weight_plan(plan);
  else
    product::tile_conv_plan(plan);
}

Written block_written(const ProductPlan& plan, int64_t chunk) noexcept {
  return product::conv_written(product::TileConvWork(plan.product, plan.threads), chunk);
}

void block_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
               int worker) noexcept {
  plan.product.dtype == DType::kF16 ? run_as<num::Fp16>(plan, x, stage, chunk, worker)
                                    : run_as<num::Bf16>(plan, x, stage, chunk, worker);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
