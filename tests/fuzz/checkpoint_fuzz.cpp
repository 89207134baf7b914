// libFuzzer on the checkpoint reader: the bytes as they are, and with their checksums repaired, so that what
// lies behind these is reached.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "train/checkpoint.h"
#include "train/checkpoint_repair.h"

namespace {

void read(const std::string& bytes) {
  try {
    halftone::train::parse_checkpoint(bytes, "fuzz.htck");
  } catch (const halftone::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  read(bytes);
  halftone::train::repair_checksums(bytes);
  read(bytes);
  return 0;
}
