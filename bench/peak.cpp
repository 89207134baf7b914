#include "peak.h"

#include "base/cpu_time.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace halftone::bench {
namespace {

// Chains that don't wait for each other. Two ports with a latency of 5 cycles need 10; 12 leave room in 16
// registers for operands and a temporary.
constexpr int kChains = 12;
constexpr int64_t kRounds = 1 << 16;

#if defined(__x86_64__)
// A function that adds up kChains independent sums, 1 * 1 each time. One assembly statement names them all,
// so that they stay in registers: g++ 12 keeps an array of sums in memory, whether intrinsics or assembly use
// it. CHAIN(sum) is the code for one sum; %12 is a temporary, %13 the ones.
#define HT_PEAK_LOOP(function, isa, Vector, ones, CHAIN)                                               \
  [[gnu::target(isa), gnu::noinline]] void function() {                                                \
    Vector a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{}, k{}, l{}, temporary;                      \
    const Vector x = ones;                                                                             \
    for (int64_t round = 0; round < kRounds; ++round)                                                  \
      asm volatile(CHAIN("%0") CHAIN("%1") CHAIN("%2") CHAIN("%3") CHAIN("%4") CHAIN("%5") CHAIN("%6") \
                       CHAIN("%7") CHAIN("%8") CHAIN("%9") CHAIN("%10") CHAIN("%11")                   \
                   : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h), "+v"(i),  \
                     "+v"(j), "+v"(k), "+v"(l), "=&v"(temporary)                                       \
                   : "v"(x));                                                                          \
  }
#define HT_FMA(sum) "vfmadd231ps %13, %13, " sum "\n\t"
#define HT_DPWSSD(sum) "vpdpwssd %13, %13, " sum "\n\t"
#define HT_DPWSSD_VEX(sum) "%{vex%} vpdpwssd %13, %13, " sum "\n\t"
#define HT_FMA_HALF(sum) "vfmadd231ph %13, %13, " sum "\n\t"
#define HT_MADDWD(sum) "vpmaddwd %13, %13, %12\n\tvpaddd %12, " sum ", " sum "\n\t"

HT_PEAK_LOOP(fma_512, "avx512f", __m512, _mm512_set1_ps(1.0F), HT_FMA)
HT_PEAK_LOOP(dpwssd_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32(0x00010001), HT_DPWSSD)
#if defined(HALFTONE_HAS_AVX512FP16)
HT_PEAK_LOOP(fma_half_512, "avx512f", __m512i, _mm512_set1_epi16(0x3C00), HT_FMA_HALF)
#endif
#if defined(HALFTONE_HAS_AMX)
// Four sums of tiles, enough to hide a product's latency. The process may use tiles: kern::available() has
// asked.
[[gnu::noinline]] void dpbssd_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
  } config;
  asm volatile("ldtilecfg %0" : : "m"(config));
  asm volatile("tilezero %tmm4\n\ttilezero %tmm5");
  for (int64_t round = 0; round < kRounds; ++round)
    asm volatile(
        "tdpbssd %tmm5, %tmm4, %tmm0\n\ttdpbssd %tmm5, %tmm4, %tmm1\n\ttdpbssd %tmm5, %tmm4, %tmm2\n\t"
        "tdpbssd %tmm5, %tmm4, %tmm3\n\ttdpbssd %tmm5, %tmm4, %tmm0\n\ttdpbssd %tmm5, %tmm4, %tmm1\n\t"
        "tdpbssd %tmm5, %tmm4, %tmm2\n\ttdpbssd %tmm5, %tmm4, %tmm3\n\ttdpbssd %tmm5, %tmm4, %tmm0\n\t"
        "tdpbssd %tmm5, %tmm4, %tmm1\n\ttdpbssd %tmm5, %tmm4, %tmm2\n\ttdpbssd %tmm5, %tmm4, %tmm3");
  asm volatile("tilerelease");
}
#endif
HT_PEAK_LOOP(fma_256, "avx2,fma", __m256, _mm256_set1_ps(1.0F), HT_FMA)
HT_PEAK_LOOP(maddwd_256, "avx2", __m256i, _mm256_set1_epi32(0x00010001), HT_MADDWD)
#if defined(HALFTONE_HAS_AVXVNNI)
HT_PEAK_LOOP(dpwssd_256, "avx2", __m256i, _mm256_set1_epi32(0x00010001), HT_DPWSSD_VEX)
#endif
#endif

struct Peak {
  const char* instruction;
  void (*run)();
  double products;  // an instruction
};

Peak peak_of([[maybe_unused]] kern::Isa isa, [[maybe_unused]] kern::Multiply multiply) {
#if defined(__x86_64__)
  const bool block = multiply == kern::Multiply::kBlock;
  const bool amx = isa == kern::Isa::kAmx;
#if defined(HALFTONE_HAS_AMX)
  // A product of 13-bit integers takes three of bytes.
  if (block && amx) return {"4 x tdpbssd", dpbssd_tiles, 16.0 * 16 * 64 / 4};
#endif
#if defined(HALFTONE_HAS_AVX512FP16)
  if (multiply == kern::Multiply::kHalf && (isa == kern::Isa::kAvx512Fp16 || amx))
    return {"vfmadd231ph, 512 bits", fma_half_512, 32};
#endif
  if (multiply == kern::Multiply::kHalf) return {"", nullptr, 0};
  if (isa == kern::Isa::kAvx512 || isa == kern::Isa::kAvx512Fp16 || amx)
    return block ? Peak{"vpdpwssd, 512 bits", dpwssd_512, 32} : Peak{"vfmadd231ps, 512 bits", fma_512, 16};
#if defined(HALFTONE_HAS_AVXVNNI)
  if (block && isa == kern::Isa::kAvxVnni) return {"vpdpwssd, 256 bits", dpwssd_256, 16};
#endif
  if (isa == kern::Isa::kAvx2 || isa == kern::Isa::kAvxVnni)
    return block ? Peak{"vpmaddwd + vpaddd, 256 bits", maddwd_256, 16}
                 : Peak{"vfmadd231ps, 256 bits", fma_256, 8};
#endif
  return {"", nullptr, 0};
}

}  // namespace

const char* peak_instruction(kern::Isa isa, kern::Multiply multiply) {
  return peak_of(isa, multiply).instruction;
}

double peak_gmacs(kern::Isa isa, kern::Multiply multiply) {
  const Peak peak = peak_of(isa, multiply);
  if (peak.run == nullptr) return 0;
  double best = 0;
  for (int run = 0; run < 20; ++run) {
    const double start = cpu_seconds();
    peak.run();
    const double gmacs = 1e-9 * peak.products * kChains * kRounds / (cpu_seconds() - start);
    if (gmacs > best) best = gmacs;
  }
  return best;
}

}  // namespace halftone::bench
