// libFuzzer on summary.json as comparisons read it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "fuzz/temporary_file.h"
#include "train/summary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const halftone::fuzz::TemporaryFile file("summary.json");
  file.with({reinterpret_cast<const char*>(data), size});
  try {
    halftone::train::read_summary(file.path());
  } catch (const halftone::Error&) {
  }
  return 0;
}
