// Pictures whose pixels are class numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::data {

struct Mask {
  int64_t height = 0, width = 0;
  std::vector<uint16_t> classes;  // height x width
};

// A PNG with a palette (the indices) or of greys (as they are, of 1 to 16 bits). Errors: none of these; those of
// decode_image.
Mask decode_mask(std::string_view bytes, const std::string& name);

}  // namespace halftone::data
