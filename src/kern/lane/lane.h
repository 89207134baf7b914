// The lane types of a build (kern.cmake): the scalar ones and, for an instruction set, its vector of 16
// floats. HALFTONE_KERN_VECTOR is the register width in bits, 0 for none.
#pragma once

#include "kern/lane/scalar.h"

#if HALFTONE_KERN_VECTOR == 512
#include "kern/avx512/vec.h"
#elif HALFTONE_KERN_VECTOR == 256
#include "kern/avx2/vec.h"
#endif
