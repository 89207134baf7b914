#include "kern/matrix.h"

#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {

MatrixKernels matrix_kernels() {
  return {};
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
