// The one place where a file's tensors become storage: another precision, another order of axes. It says what
// was lost.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace halftone::pass {

struct NarrowLoss {
  std::string name;
  int64_t elements = 0;
  int64_t flushed = 0;              // not zero before, zero now
  int64_t subnormal = 0;            // kept with fewer bits than the type has
  int64_t overflowed = 0;           // finite before, infinite now
  double largest = 0;               // the largest magnitude before
  double worst_relative_error = 0;  // over elements that are neither flushed, subnormal nor overflowed
};

// `value.initial()` in the storage order and type of `value` (a parameter or state).
Tensor narrow(const ir::Value& value, NarrowLoss* loss);

// Error (input) that names the first element which is no finite number, if the tensor as it is stored has
// one: NaN, or, where `infinities` are refused too, an infinity. (A mask may have some; what is trained may
// not.)
void refuse_non_finite(const ir::Value& value, const Tensor& stored, bool infinities);

// Back: the storage tensor in the file's order, widened to fp32 (fp64 stays). Exact.
Tensor widen(const Tensor& stored, const std::vector<int64_t>& storage_axes);

}  // namespace halftone::pass
