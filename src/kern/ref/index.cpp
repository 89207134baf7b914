#include "kern/index.h"

#include "kern/lane/table.h"

namespace halftone::kern::HALFTONE_KERN_NS {

const IndexKernels& index_kernels() {
  static const IndexKernels table = {};
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
