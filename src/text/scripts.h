// Scripts of characters, as SentencePiece splits at them.
#pragma once

#include <cstdint>

namespace halftone::text {

constexpr int32_t kAnyScript = -1;  // what all scripts have in common, and the space

// A number of ICU's, or kAnyScript. Hiragana and Katakana count as Han.
int32_t script_of(char32_t c);

}  // namespace halftone::text
