// A tensor along one of its axes.
#pragma once

#include "tensor/shape.h"

namespace halftone::ops {

// x[outer][length][inner].
struct Lines {
  int64_t outer, length, inner;
};
inline Lines lines_of(const Shape& x, size_t axis) {
  const auto at = x.begin() + static_cast<std::ptrdiff_t>(axis);
  return {elements(Shape(x.begin(), at)), *at, elements(Shape(at + 1, x.end()))};
}

}  // namespace halftone::ops
