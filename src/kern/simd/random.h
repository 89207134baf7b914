// Philox4x32-10 for many blocks at once, and stochastic rounding: exactly num::random16, num::random32 and
// num/half.h.
#pragma once

#include "kern/lane/lane.h"
#include "kern/lane/random.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// A run of random bits in memory order: kBlocks consecutive Philox blocks, filled when an element outside is
// asked for.
class RandomRun {
 public:
  static constexpr int64_t kBlocks = 16;
  struct Part {
    int64_t offset;  // of the first element within the run
    int64_t count;   // elements from there on
  };

  RandomRun(num::RandomKey key, uint64_t step) : key_(key), step_(step) {}

  // For `wanted` elements from `element`, as many as this run has: 4 elements a block with 32 bits each, or 8
  // with 16.
  HALFTONE_INLINE Part words(uint64_t element, int64_t wanted) { return fill(element, wanted, kBlocks * 4); }
  HALFTONE_INLINE Part half_words(uint64_t element, int64_t wanted) {
    return fill(element, wanted, kBlocks * 8);
  }
  // Where the bits of an element stand; 16 elements may be read from there (beyond the part they mean
  // nothing).
  HALFTONE_INLINE const uint32_t* word(int64_t offset) const { return buffer_ + offset; }
  HALFTONE_INLINE const uint16_t* half_word(int64_t offset) const {
    return reinterpret_cast<const uint16_t*>(buffer_) + offset;
  }

 private:
  HALFTONE_INLINE Part fill(uint64_t element, int64_t wanted, int64_t elements) {
    const uint64_t size = static_cast<uint64_t>(elements);
    const int64_t offset = static_cast<int64_t>(element % size);
    generate(element / size * kBlocks);
    const int64_t left = elements - offset;
    return {offset, wanted < left ? wanted : left};
  }

  // The state is 32-bit words in the low halves of 64-bit lanes; what is in the high halves doesn't matter,
  // since a product takes the low ones and everything else is exclusive or.
  void generate(uint64_t first_block) {
    constexpr int kGroups = static_cast<int>(kBlocks) / U64::kSize;
    U64 c0[kGroups];
    U64 c1[kGroups];
    U64 c2[kGroups];
    U64 c3[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      c0[g] = U64(first_block + static_cast<uint64_t>(g * U64::kSize)) + block_order();
      c1[g] = high_half(c0[g]);
      c2[g] = U64(step_);
      c3[g] = high_half(c2[g]);
    }
    const U64 m0(uint64_t{0xD2511F53U});
    const U64 m1(uint64_t{0xCD9E8D57U});
    uint32_t k0 = key_.k0;
    uint32_t k1 = key_.k1;
    for (int round = 0; round < 10; ++round) {
      const U64 key0(uint64_t{k0});
      const U64 key1(uint64_t{k1});
      for (int g = 0; g < kGroups; ++g) {
        const U64 p0 = multiply_low_halves(c0[g], m0);
        const U64 p1 = multiply_low_halves(c2[g], m1);
        c0[g] = xor3(high_half(p1), c1[g], key0);
        c1[g] = p1;
        c2[g] = xor3(high_half(p0), c3[g], key1);
        c3[g] = p0;
      }
      k0 += 0x9E3779B9U;
      k1 += 0xBB67AE85U;
    }
    for (int g = 0; g < kGroups; ++g) store_blocks(buffer_ + g * U64::kSize * 4, c0[g], c1[g], c2[g], c3[g]);
  }

  num::RandomKey key_;
  uint64_t step_;
  alignas(64) uint32_t buffer_[kBlocks * 4 + 16] = {};
};

// ---------------------------------------------------------------- stochastic narrowing

// num::to_fp16_stochastic of each lane: `random` holds 16 bits in each, the result is in the low halves.
// Nearly all vectors hold normal fp16 values only: the rest is behind branches.
HALFTONE_INLINE U32 dithered_fp16(F32 x, U32 random) {
  const U32 u = bits(x);
  const U32 magnitude = u & U32(0x7FFFFFFFU);
  const U32 r13 = random >> 3;
  const U32 sign = (u >> 16) & U32(0x8000U);
  U32 h = ((magnitude + r13) >> 13) - U32(112U << 10);
  const Mask small = less(magnitude, U32(0x38800000U));  // below 2^-14
  if (lane_bits(small) != 0) {
    const F32 scaled = from_bits(magnitude) * F32(0x1p24F) + to_float(r13) * F32(0x1p-13F);
    h = select(small, to_int(select(small, scaled, F32(0.0F))), h);
  }
  const Mask large = less(U32(0x477FDFFFU), magnitude);  // from 65504 on
  if (lane_bits(large) != 0) [[unlikely]] {
    h = select(large & less(U32(0x7BFFU), h), U32(0x7C00U), h);
    h = select(less(U32(0x7F7FFFFFU), magnitude), U32(0x7C00U), h);
    h = select(x != x, U32(0x7E00U) | ((magnitude >> 13) & U32(0x3FFU)), h);
  }
  return h | sign;
}
// num::to_bf16_stochastic.
HALFTONE_INLINE U32 dithered_bf16(F32 x, U32 random) {
  const U32 u = bits(x);
  U32 h = (u + random) >> 16;
  const Mask special = less(U32(0x7F7FFFFFU), u & U32(0x7FFFFFFFU));
  if (lane_bits(special) != 0) [[unlikely]]
    h = select(special, (u >> 16) | select(x != x, U32(0x40U), U32(0U)), h);
  return h;
}
HALFTONE_INLINE U32 dithered(num::Fp16, F32 x, U32 random) {
  return dithered_fp16(x, random);
}
HALFTONE_INLINE U32 dithered(num::Bf16, F32 x, U32 random) {
  return dithered_bf16(x, random);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
