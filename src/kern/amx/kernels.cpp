// AMX: avx512fp16's kernels, but for `block`, which multiplies on tiles.
#include "kern/amx/block.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

void plan(ProductPlan& plan) noexcept {
  on_tiles(plan.product) ? block_plan(plan) : avx512fp16::matrix_kernels().plan(plan);
}
Written written(const ProductPlan& plan, int64_t chunk) noexcept {
  return on_tiles(plan.product) ? block_written(plan, chunk)
                                : avx512fp16::matrix_kernels().written(plan, chunk);
}
void run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) noexcept {
  on_tiles(plan.product) ? block_run(plan, x, stage, chunk, worker)
                         : avx512fp16::matrix_kernels().run(plan, x, stage, chunk, worker);
}

Kernels with_tiles(Kernels kernels) {
  kernels.matrix = matrix_kernels();
  return kernels;
}

}  // namespace

MatrixKernels tile_kernels() {
  return {block_plan, block_written, block_run, false};
}

MatrixKernels matrix_kernels() {
  return {plan, written, run, true};
}

const Kernels& kernels() {
  static const Kernels table = with_tiles(avx512fp16::kernels());
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
