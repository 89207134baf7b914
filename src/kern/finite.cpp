#include "kern/finite.h"

#include <algorithm>

namespace halftone::kern {
namespace {

// Whether all bits of `exponent` are set in one of the numbers.
template <class Bits>
bool any_with(const Bits* x, int64_t n, Bits exponent) {
  // Long enough for vectors, short enough to stop early; without a branch inside.
  constexpr int64_t kRun = 1024;
  for (int64_t first = 0; first < n; first += kRun) {
    const int64_t count = std::min(kRun, n - first);
    Bits found = 0;
    for (int64_t i = 0; i < count; ++i)
      found |= static_cast<Bits>((x[first + i] & exponent) == exponent ? 1 : 0);
    if (found != 0) return true;
  }
  return false;
}

}  // namespace

bool any_non_finite(DType dtype, const void* x, int64_t n) {
  switch (dtype) {
    case DType::kF16:
      return any_with<uint16_t>(static_cast<const uint16_t*>(x), n, 0x7C00);
    case DType::kBf16:
      return any_with<uint16_t>(static_cast<const uint16_t*>(x), n, 0x7F80);
    case DType::kF32:
      return any_with<uint32_t>(static_cast<const uint32_t*>(x), n, 0x7F800000U);
    case DType::kF64:
      return any_with<uint64_t>(static_cast<const uint64_t*>(x), n, 0x7FF0000000000000U);
    default:
      return false;
  }
}

}  // namespace halftone::kern
