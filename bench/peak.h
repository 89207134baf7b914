// What the processor's multiply-add instructions can do at best: loops over registers alone, no memory.
#pragma once

#include "kern/dispatch.h"
#include "kern/matrix.h"

namespace halftone::bench {

// The instruction that the kernels of this instruction set multiply with under this policy: vfmadd231ps,
// vpdpwssd, vpmaddwd + vpaddd, vfmadd231ph, tdpbssd. Empty for the reference, which has no such instruction.
const char* peak_instruction(kern::Isa isa, kern::Multiply multiply);

// Billions of multiply-adds a second of this thread with that instruction, the best of a few milliseconds'
// runs; 0 for the reference. `isa` must be one this CPU has. Measure it close to what is compared with it:
// clocks and neighbours change.
double peak_gmacs(kern::Isa isa, kern::Multiply multiply);

}  // namespace halftone::bench
