#include "tensor/shape.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace halftone {

int64_t elements(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) {
    if (d < 0 || __builtin_mul_overflow(n, d, &n))
      throw input_error("the shape {} has no valid size", to_string(shape));
  }
  return n;
}

Shape strides_of(const Shape& shape) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

std::string to_string(const Shape& shape) {
  constexpr size_t kShown = 16;
  if (shape.size() > kShown)
    return fmt::format("{}x... ({} dimensions)", fmt::join(shape.begin(), shape.begin() + kShown, "x"),
                       shape.size());
  return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, "x"));
}

Shape broadcast(const Shape& a, const Shape& b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape out(rank);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t da = i + a.size() < rank ? 1 : a[i + a.size() - rank];
    const int64_t db = i + b.size() < rank ? 1 : b[i + b.size() - rank];
    if (da != db && da != 1 && db != 1)
      throw input_error("shapes {} and {} cannot be broadcast together", to_string(a), to_string(b));
    out[i] = da == 1 ? db : da;
  }
  return out;
}

int64_t normalize_axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) throw input_error("axis {} is outside [-{}, {})", axis, rank, rank);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace halftone
