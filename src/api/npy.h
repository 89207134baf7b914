// One array as a .npy file (NumPy's format 1.0), for proofs and tests.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace halftone::api {

// Floats become fp64 (float64 files) or fp32, integers and bool int64. Errors name the file.
Tensor read_npy(const std::string& path);
void write_npy(const std::string& path, const Tensor& tensor);

}  // namespace halftone::api
