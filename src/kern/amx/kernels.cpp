// AMX: avx512fp16's kernels, but for `block`, which multiplies on tiles.
#include "kern/amx/block.h"
#include "kern/overlay.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {

MatrixKernels tile_kernels() {
  return {block_plan, block_written, block_run, false};
}

MatrixKernels matrix_kernels() {
  return Overlay<on_tiles, tile_kernels, avx512fp16::matrix_kernels>::kernels(true);
}

const Kernels& kernels() {
  static const Kernels table = with(matrix_kernels(), avx512fp16::kernels());
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
