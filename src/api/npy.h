// One array as a .npy file (NumPy's format 1.0), for proofs and tests.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace halftone::api {

// Floats become fp64 (float64 files) or fp32, integers and bool int64. Errors name the file.
Tensor read_npy(const std::string& path);
void write_npy(const std::string& path, const Tensor& tensor);

// The name, without its ending, of the file that holds a parameter's gradient beside loss.npy: the
// parameter's own, with /, %, control characters, a leading . and the l of "loss" as %XX, which URL decoding
// turns back. So two parameters never have one file. Error: it is too long for a file.
std::string gradient_file(const std::string& parameter);

}  // namespace halftone::api
