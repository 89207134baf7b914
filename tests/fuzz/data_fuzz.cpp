// libFuzzer on one reader of data: HALFTONE_READER is its name (tests/data/fuzzing.h).
// tests/fuzz/CMakeLists.txt builds one program a reader.
#include <cstddef>
#include <cstdint>
#include <string>

#include "data/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string reader = HALFTONE_READER;
  halftone::data::read_all(reader, std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
