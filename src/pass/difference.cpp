#include "pass/difference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "num/half.h"
#include "tensor/float_type.h"

namespace halftone::pass {

double Difference::relative() const {
  if (error == 0) return 0;
  return squares > 0 ? std::sqrt(error / squares) : std::numeric_limits<double>::infinity();
}

void Difference::add(const Difference& other) {
  elements += other.elements;
  overflowed += other.overflowed;
  flushed += other.flushed;
  largest = std::max(largest, other.largest);
  error += other.error;
  small_error += other.small_error;
  squares += other.squares;
}

Difference difference(DType narrow_type, const void* narrow, DType wide_type, const void* wide, int64_t n) {
  Difference d;
  d.elements = n;
  const double normal = narrow_type == DType::kF16 ? 0x1p-14 : 0x1p-126;
  with_float_type(narrow_type, [&]<class Narrow>(Narrow) {
    with_float_type(wide_type, [&]<class Wide>(Wide) {
      const auto* a = static_cast<const Narrow*>(narrow);
      const auto* b = static_cast<const Wide*>(wide);
      for (int64_t i = 0; i < n; ++i) {
        const double x = num::widen(a[i]);
        const double y = num::widen(b[i]);
        // Masks are infinite on purpose, or as good as that; activations of a sound network never are.
        constexpr double kMask = 1e30;
        if (!std::isfinite(y) || (std::abs(y) >= kMask && !std::isfinite(x))) continue;
        d.largest = std::max(d.largest, std::abs(y));
        if (!std::isfinite(x)) {
          ++d.overflowed;
          continue;
        }
        const double square = (x - y) * (x - y);
        d.error += square;
        d.squares += y * y;
        if (std::abs(y) >= normal) continue;
        d.small_error += square;
        if (x == 0 && y != 0) ++d.flushed;
      }
    });
  });
  return d;
}

int significant_bits(DType dtype) {
  HT_ASSERT(is_16bit(dtype), "{}", name_of(dtype));
  return dtype == DType::kF16 ? 11 : 8;
}

}  // namespace halftone::pass
