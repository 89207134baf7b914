// Characters of UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace halftone {

// The bytes of the character that begins at `at`; 0 when they are not UTF-8.
size_t character_bytes(std::string_view text, size_t at);

}  // namespace halftone
