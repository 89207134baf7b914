#include "num/random.h"

namespace halftone::num {

RandomKey random_key(uint64_t seed, uint64_t stream) {
  // Philox itself mixes seed and stream; the fixed step keeps these blocks apart from any that a user of the
  // key draws.
  const RandomKey root{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const std::array<uint32_t, 4> words = philox(root, stream, 0x48616C66746F6E65ULL);
  return {words[0], words[1]};
}

uint64_t random_below(RandomKey key, uint64_t element, uint64_t step, uint64_t n) {
  const std::array<uint32_t, 4> words = philox(key, element, step);
  const uint64_t bits = (static_cast<uint64_t>(words[1]) << 32) | words[0];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * n) >> 64);
}

}  // namespace halftone::num
