// Counter-based random bits: a function of (seed, stream, step, element) and of nothing else, so that
// dithering, shuffling and augmentation repeat after a resume, on any thread count and instruction set.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), Philox4x32-10.
#pragma once

#include <array>
#include <cstdint>

namespace halftone::num {

struct RandomKey {
  uint32_t k0;
  uint32_t k1;
};

// One key for each (seed, stream): streams keep, say, the dither of one tensor apart from the dither of
// another.
RandomKey random_key(uint64_t seed, uint64_t stream);

// Philox4x32-10 at counter (block, step): 128 random bits.
inline std::array<uint32_t, 4> philox(RandomKey key, uint64_t block, uint64_t step) {
  uint32_t c0 = static_cast<uint32_t>(block);
  uint32_t c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(step);
  uint32_t c3 = static_cast<uint32_t>(step >> 32);
  uint32_t k0 = key.k0;
  uint32_t k1 = key.k1;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53U} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {c0, c1, c2, c3};
}

// The 16 random bits of an element: element e takes half-word (e mod 8) of block e / 8, low half of a word
// first.
inline uint16_t random16(RandomKey key, uint64_t element, uint64_t step) {
  const std::array<uint32_t, 4> words = philox(key, element / 8, step);
  const uint32_t word = words[(element % 8) / 2];
  return static_cast<uint16_t>((element % 2) != 0 ? word >> 16 : word);
}

// The 32 random bits of an element: word (e mod 4) of block e / 4.
inline uint32_t random32(RandomKey key, uint64_t element, uint64_t step) {
  return philox(key, element / 4, step)[element % 4];
}

// A whole number in [0, n), n > 0, by multiplication (bias below n / 2^64, from two words).
uint64_t random_below(RandomKey key, uint64_t element, uint64_t step, uint64_t n);

}  // namespace halftone::num
