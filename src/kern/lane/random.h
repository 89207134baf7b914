// The random bits of an element, as num/random.h defines them, without its std::array: a copy of an inline
// function compiled for one instruction set must not leave its namespace. tests/kern/random_test.cpp holds
// the two equal.
#pragma once

#include <cstdint>

#include "num/half.h"
#include "num/random.h"

namespace halftone::kern::HALFTONE_KERN_NS {

struct PhiloxBlock {
  uint32_t words[4];
};
HALFTONE_INLINE PhiloxBlock philox_block(num::RandomKey key, uint64_t block, uint64_t step) {
  uint32_t c0 = static_cast<uint32_t>(block);
  uint32_t c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(step);
  uint32_t c3 = static_cast<uint32_t>(step >> 32);
  for (uint32_t round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53U} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ (key.k0 + round * 0x9E3779B9U);
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ (key.k1 + round * 0xBB67AE85U);
    c3 = static_cast<uint32_t>(p0);
  }
  return {{c0, c1, c2, c3}};
}
HALFTONE_INLINE uint16_t random16_of(num::RandomKey key, uint64_t element, uint64_t step) {
  const uint32_t word = philox_block(key, element / 8, step).words[(element % 8) / 2];
  return static_cast<uint16_t>((element % 2) != 0 ? word >> 16 : word);
}
HALFTONE_INLINE uint32_t random32_of(num::RandomKey key, uint64_t element, uint64_t step) {
  return philox_block(key, element / 4, step).words[element % 4];
}

// The smallest random32 that keeps an element: ratio * 2^32 rounded up, 0 <= ratio < 1 (exact in double).
HALFTONE_INLINE uint32_t dropout_threshold(float ratio) {
  const double exact = static_cast<double>(ratio) * 0x1p32;
  const uint64_t whole = static_cast<uint64_t>(exact);
  return static_cast<uint32_t>(whole + (static_cast<double>(whole) < exact ? 1 : 0));
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
