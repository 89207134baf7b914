// Which build of the kernels runs: found once, at first use, from the CPU (and what the system saves) or from
// HALFTONE_ISA.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "num/dtype.h"

namespace halftone::kern {

struct Kernels;
struct MatrixKernels;

enum class Isa { kReference, kAvx2, kAvxVnni, kAvx512, kAvx512Fp16, kAmx };

std::string_view name_of(Isa isa);

// The instruction sets this build has kernels for and this CPU can run, reference first.
std::vector<Isa> available();

// The table that everything runs on. First call: HALFTONE_ISA=reference|avx2|avxvnni|avx512|avx512fp16|amx
// forces one (Error when unknown or not runnable here), otherwise the last of available(). Frozen from then
// on.
const Kernels& active();
Isa active_isa();

// The table of one instruction set, for tests and benchmarks. It must be in available().
const Kernels& table(Isa isa);

// amx's products of `block`, on tiles even where matrix multiplies them faster without: for tests. Null where
// there is no amx.
const MatrixKernels* all_on_tiles();

// active(), but the reference for fp64, which only it handles.
const Kernels& kernels_for(DType storage);

// What the CPU has that matters here, e.g. "avx2 fma f16c avx512f avx512bw avx512vnni avx512fp16 amxint8".
std::string cpu_features();

}  // namespace halftone::kern
