// An instruction set that multiplies some products its own way and leaves the others, and every other kernel,
// to another one.
#pragma once

#include "kern/kernels.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// MatrixKernels' functions: kOwn's for the products that kMine accepts, else kOthers'.
template <bool (*kMine)(const Product&), MatrixKernels (*kOwn)(), MatrixKernels (*kOthers)()>
struct Overlay {
  static MatrixKernels of(const ProductPlan& plan) { return kMine(plan.product) ? kOwn() : kOthers(); }
  static void plan(ProductPlan& plan) noexcept { of(plan).plan(plan); }
  static Written written(const ProductPlan& plan, int64_t chunk) noexcept {
    return of(plan).written(plan, chunk);
  }
  static void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk,
                  int worker) noexcept {
    of(plan).run(plan, x, stage, chunk, worker);
  }
  static MatrixKernels kernels(bool half) { return {plan, written, run, half}; }
};

// The other one's table with these products.
inline Kernels with(MatrixKernels matrix, Kernels others) {
  others.matrix = matrix;
  return others;
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS
