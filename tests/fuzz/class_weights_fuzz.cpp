// libFuzzer on --class-weights, as a list and as a file.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "api/losses.h"
#include "base/error.h"
#include "fuzz/temporary_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const halftone::fuzz::TemporaryFile file("weights.txt");
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& given : {text, file.with(text)}) {
    try {
      for (const float w : halftone::api::parse_class_weights(given)) HT_ASSERT(std::isfinite(w) && w >= 0);
    } catch (const halftone::Error&) {
    }
  }
  return 0;
}
