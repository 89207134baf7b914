// A part of a tensor along one axis.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// x[..., start + i * step, ...] for i < size; x itself where that is all of it.
ValueId add_slice(Builder& b, ValueId x, size_t axis, int64_t start, int64_t size, int64_t step = 1);

}  // namespace halftone::ops
