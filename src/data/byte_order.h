// Numbers in the headers of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace halftone::data {

// The number of `count` (1 to 4) bytes from `at` on, which are there.
inline uint32_t number_in(std::string_view bytes, size_t at, size_t count, bool big_endian) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i)
    value = value << 8 | static_cast<uint8_t>(bytes[at + (big_endian ? i : count - 1 - i)]);
  return value;
}

}  // namespace halftone::data
