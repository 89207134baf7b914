#include "kern/normalization.h"

#include "kern/lane/table.h"

namespace halftone::kern::HALFTONE_KERN_NS {

const NormalizationKernels& normalization_kernels() {
  static const NormalizationKernels table = {};
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
