// libFuzzer on loss graphs: the bytes as one that is appended to a network's graph.
#include <cstddef>
#include <cstdint>
#include <string>

#include "onnx/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  halftone::onnx::test::use_loss(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
