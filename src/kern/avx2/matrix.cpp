#include "kern/matrix.h"

#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// The reference's: same bits.
MatrixKernels matrix_kernels() { return ref_fma::matrix_kernels(); }

}  // namespace halftone::kern::HALFTONE_KERN_NS
