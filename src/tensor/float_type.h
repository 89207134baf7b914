// From a dtype to a C++ type.
#pragma once

#include "base/error.h"
#include "num/dtype.h"
#include "num/half.h"

namespace halftone {

// Calls use(T{}) with the C++ type of a float dtype.
template <class Use>
void with_float_type(DType dtype, const Use& use) {
  switch (dtype) {
    case DType::kF64:
      return use(double{});
    case DType::kF32:
      return use(float{});
    case DType::kF16:
      return use(num::Fp16{});
    case DType::kBf16:
      return use(num::Bf16{});
    default:
      HT_ASSERT(false, "a float type was expected, got {}", name_of(dtype));
  }
}

}  // namespace halftone
