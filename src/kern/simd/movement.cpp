// Copies and fills move bytes: the compiler's vector code of the reference does.
#include "kern/lane/table.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void copy(const CopyArgs& a) noexcept {
  ref_fma::kernels().copy(a);
}
void fill(const FillArgs& a) noexcept {
  ref_fma::kernels().fill(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
