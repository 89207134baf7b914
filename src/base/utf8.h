// Characters of UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace halftone {

// The bytes of the character that begins at `at`; 0 when they are not UTF-8.
size_t character_bytes(std::string_view text, size_t at);

// The character, up to U+10FFFF, at the end of the text.
void append_utf8(uint32_t character, std::string& text);

}  // namespace halftone
