// AVX-512 with fp16 arithmetic: avx512's kernels, and `half` besides.
#include "kern/avx512fp16/half.h"
#include "kern/overlay.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

bool is_half(const Product& product) {
  return product.multiply == Multiply::kHalf;
}
MatrixKernels half_kernels() {
  return {half_plan, half_written, half_run, true};
}

}  // namespace

MatrixKernels matrix_kernels() {
  return Overlay<is_half, half_kernels, avx512::matrix_kernels>::kernels(true);
}

const Kernels& kernels() {
  static const Kernels table = with(matrix_kernels(), avx512::kernels());
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
