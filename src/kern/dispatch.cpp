#include "kern/dispatch.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "kern/tables.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(HALFTONE_KERN_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace halftone::kern {
namespace {

// What the CPU offers and, for the wide registers, what the operating system saves at a task switch: an
// instruction set whose registers aren't saved must not be used, whatever CPUID says.
struct Cpu {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512dq = false, avx512vnni = false;
  bool avx512bf16 = false, avx512fp16 = false, avx_vnni = false, amx_bf16 = false, amx_int8 = false;
};

#if defined(__x86_64__)
uint64_t saved_registers() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

Cpu detect() {
  Cpu cpu;
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t c = 0;
  uint32_t d = 0;
  const auto bit = [](uint32_t word, int n) { return ((word >> n) & 1U) != 0; };
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !bit(c, 27)) return cpu;  // 27: OSXSAVE, XGETBV may be used
  const uint64_t saved = saved_registers();
  constexpr uint64_t kYmm = 0x06;                 // XMM and YMM state
  constexpr uint64_t kZmm = 0xE6;                 // and the mask registers and both halves of ZMM
  constexpr uint64_t kTiles = uint64_t{3} << 17;  // AMX
  if ((saved & kYmm) != kYmm || !bit(c, 28)) return cpu;
  cpu.fma = bit(c, 12);
  cpu.f16c = bit(c, 29);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return cpu;
  const uint32_t subleaves = a;
  cpu.avx2 = bit(b, 5);
  const bool zmm = (saved & kZmm) == kZmm;
  cpu.avx512f = zmm && bit(b, 16);
  cpu.avx512dq = zmm && bit(b, 17);
  cpu.avx512bw = zmm && bit(b, 30);
  cpu.avx512vl = zmm && bit(b, 31);
  cpu.avx512vnni = zmm && bit(c, 11);
  cpu.avx512fp16 = zmm && bit(d, 23);
  const bool tiles = (saved & kTiles) == kTiles && bit(d, 24);
  cpu.amx_bf16 = tiles && bit(d, 22);
  cpu.amx_int8 = tiles && bit(d, 25);
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    cpu.avx_vnni = bit(a, 4);
    cpu.avx512bf16 = zmm && bit(a, 5);
  }
  return cpu;
}
#else
Cpu detect() {
  return {};
}
#endif

const Cpu& cpu() {
  static const Cpu found = detect();
  return found;
}

[[maybe_unused]] bool has_fma() {
  return cpu().avx2 && cpu().fma && cpu().f16c;
}
[[maybe_unused]] bool has_avxvnni() {
  return has_fma() && cpu().avx_vnni;
}
[[maybe_unused]] bool has_avx512() {
  const Cpu& c = cpu();
  return has_fma() && c.avx512f && c.avx512bw && c.avx512vl && c.avx512dq && c.avx512vnni;
}

[[maybe_unused]] bool has_avx512fp16() {
  return has_avx512() && cpu().avx512fp16;
}

// Tile registers are a process's on demand: Linux saves them for those that have asked.
#if defined(HALFTONE_KERN_AMX)
bool ask_for_tiles() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;     // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
bool has_amx() {
  static const bool usable = has_avx512fp16() && cpu().amx_int8 && ask_for_tiles();
  return usable;
}
#endif

// The choice, made once.
Isa choose() {
  const std::vector<Isa> runnable = available();
  const char* forced = std::getenv("HALFTONE_ISA");
  if (forced == nullptr || *forced == '\0') return runnable.back();
  std::string names;
  for (const Isa isa : runnable) {
    if (name_of(isa) == forced) return isa;
    names += std::string(names.empty() ? "" : ", ") + std::string(name_of(isa));
  }
  for (const Isa isa :
       {Isa::kReference, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Fp16, Isa::kAmx}) {
    if (name_of(isa) == forced)
      throw usage_error(
          "HALFTONE_ISA={}: this CPU or this build cannot run these kernels.\n  Runnable here: {}.\n"
          "  CPU features found: {}.\n  Leave the variable unset for the best of them; the results are the "
          "same.",
          forced, names, cpu_features());
  }
  throw usage_error(
      "HALFTONE_ISA={}: unknown instruction set.\n  Expected one of reference, avx2, avxvnni, avx512, "
      "avx512fp16, amx; runnable here: {}.",
      forced, names);
}

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Fp16:
      return "avx512fp16";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

std::vector<Isa> available() {
  std::vector<Isa> found = {Isa::kReference};
#if defined(HALFTONE_KERN_AVX2)
  if (has_fma()) found.push_back(Isa::kAvx2);
#endif
#if defined(HALFTONE_KERN_AVXVNNI)
  if (has_avxvnni()) found.push_back(Isa::kAvxVnni);
#endif
#if defined(HALFTONE_KERN_AVX512)
  if (has_avx512()) found.push_back(Isa::kAvx512);
#endif
#if defined(HALFTONE_KERN_AVX512FP16)
  if (has_avx512fp16()) found.push_back(Isa::kAvx512Fp16);
#endif
#if defined(HALFTONE_KERN_AMX)
  if (has_amx()) found.push_back(Isa::kAmx);
#endif
  return found;
}

const Kernels& table(Isa isa) {
  const std::vector<Isa> runnable = available();
  HT_ASSERT(std::find(runnable.begin(), runnable.end(), isa) != runnable.end(), "no {} kernels here",
            name_of(isa));
#if defined(HALFTONE_KERN_AMX)
  if (isa == Isa::kAmx) return amx::kernels();
#endif
#if defined(HALFTONE_KERN_AVX512FP16)
  if (isa == Isa::kAvx512Fp16) return avx512fp16::kernels();
#endif
#if defined(HALFTONE_KERN_AVX512)
  if (isa == Isa::kAvx512) return avx512::kernels();
#endif
#if defined(HALFTONE_KERN_AVXVNNI)
  if (isa == Isa::kAvxVnni) return avxvnni::kernels();
#endif
#if defined(HALFTONE_KERN_AVX2)
  if (isa == Isa::kAvx2) return avx2::kernels();
#endif
#if defined(HALFTONE_KERN_REF_FMA)
  if (has_fma()) return ref_fma::kernels();
#endif
#if defined(HALFTONE_KERN_REF)
  return ref::kernels();
#else
  throw usage_error(
      "this program has kernels for CPUs with AVX2, FMA and F16C alone: it was built with HALFTONE_QUICK on "
      "such a CPU.\n"
      "  CPU features found: {}.\n  Build it on this machine, or without HALFTONE_QUICK.",
      cpu_features());
#endif
}

const MatrixKernels* all_on_tiles() {
#if defined(HALFTONE_KERN_AMX)
  static const MatrixKernels kernels = amx::tile_kernels();
  if (has_amx()) return &kernels;
#endif
  return nullptr;
}

Isa active_isa() {
  static const Isa isa = choose();
  return isa;
}

const Kernels& active() {
  static const Kernels& chosen = table(active_isa());
  return chosen;
}

const Kernels& kernels_for(DType storage) {
  return storage == DType::kF64 ? table(Isa::kReference) : active();
}

std::string cpu_features() {
  const Cpu& c = cpu();
  std::string list;
  const auto add = [&](bool present, const char* name) {
    if (present) list += (list.empty() ? "" : " ") + std::string(name);
  };
  add(c.avx2, "avx2");
  add(c.fma, "fma");
  add(c.f16c, "f16c");
  add(c.avx_vnni, "avxvnni");
  add(c.avx512f, "avx512f");
  add(c.avx512bw, "avx512bw");
  add(c.avx512vl, "avx512vl");
  add(c.avx512dq, "avx512dq");
  add(c.avx512vnni, "avx512vnni");
  add(c.avx512bf16, "avx512bf16");
  add(c.avx512fp16, "avx512fp16");
  add(c.amx_bf16, "amxbf16");
  add(c.amx_int8, "amxint8");
  return list.empty() ? "baseline" : list;
}

}  // namespace halftone::kern
