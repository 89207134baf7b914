#include "kern/sampling.h"

#include "kern/lane/table.h"

namespace halftone::kern::HALFTONE_KERN_NS {

const SamplingKernels& sampling_kernels() {
  static const SamplingKernels table = {};
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
