#include "kern/significands.h"

#include <bit>

#include "base/error.h"

namespace halftone::kern {

void round_significands(float* x, int64_t n, int bits) {
  HT_ASSERT(bits >= 2 && bits < 24, "{}", bits);
  const int dropped = 24 - bits;
  const uint32_t mask = ~((uint32_t{1} << dropped) - 1);
  for (int64_t i = 0; i < n; ++i) {
    const auto raw = std::bit_cast<uint32_t>(x[i]);
    if ((raw & 0x7F800000) == 0x7F800000) continue;
    const uint32_t even = (raw >> dropped) & 1;
    x[i] = std::bit_cast<float>((raw + (uint32_t{1} << (dropped - 1)) - 1 + even) & mask);
  }
}

}  // namespace halftone::kern
