// libFuzzer on the ONNX reader and everything that is done with a file, training apart.
#include <cstddef>
#include <cstdint>
#include <string>

#include "onnx/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  halftone::onnx::test::use_model(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
