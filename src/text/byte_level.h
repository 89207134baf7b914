// GPT-2's way to write bytes as characters, so that a vocabulary of characters has every byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/words.h"

namespace halftone::text {

// Of each byte, in UTF-8.
std::string_view character_of_byte(char byte);
// The byte that a character stands for, or -1.
int byte_of_character(char32_t c);

// GPT-2's rule for words: English endings, letters, numbers, or other characters, each with the space before it; white space.
void find_gpt2_words(std::string_view text, std::vector<Match>& out);

}  // namespace halftone::text
