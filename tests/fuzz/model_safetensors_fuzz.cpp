// libFuzzer on the safetensors reader.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "train/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    halftone::train::parse_safetensors(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz.safetensors");
  } catch (const halftone::Error&) {
  }
  return 0;
}
