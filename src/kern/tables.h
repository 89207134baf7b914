// The builds of the kernels (kern.cmake) and what each of them defines in its namespace.
#pragma once

#include "kern/kernels.h"

namespace halftone::kern {

// kernels(): the whole table. matrix_kernels(): its part for products and convolutions (ref/matrix*,
// simd/matrix*).
namespace ref {
const Kernels& kernels();
MatrixKernels matrix_kernels();
}  // namespace ref
namespace ref_fma {
const Kernels& kernels();
MatrixKernels matrix_kernels();
}  // namespace ref_fma
namespace avx2 {
const Kernels& kernels();
MatrixKernels matrix_kernels();
}  // namespace avx2
namespace avxvnni {
const Kernels& kernels();
MatrixKernels matrix_kernels();
}  // namespace avxvnni
namespace avx512 {
const Kernels& kernels();
MatrixKernels matrix_kernels();
}  // namespace avx512
namespace avx512fp16 {
const Kernels& kernels();
MatrixKernels matrix_kernels();
}  // namespace avx512fp16
namespace amx {
const Kernels& kernels();
MatrixKernels matrix_kernels();
MatrixKernels tile_kernels();  // for all_on_tiles() (dispatch.h)
}  // namespace amx

}  // namespace halftone::kern
