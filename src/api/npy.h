// One array as a .npy file (NumPy's format 1.0), for proofs and tests.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace halftone::api {

// float64, float32, float16, int64, int32, uint8, bool. Errors name the file.
Tensor read_npy(const std::string& path);
void write_npy(const std::string& path, const Tensor& tensor);

}  // namespace halftone::api
