// Classes of characters, as the crates that the original is built of know them: their Unicode versions are older and newer than ICU's.
#pragma once

#include <cstdint>

namespace halftone::text {

bool is_white_space(char32_t c);        // Unicode's White_Space
bool is_numeric(char32_t c);            // Nd, Nl, No
bool is_letter(char32_t c);             // \p{L} of Oniguruma
bool is_number(char32_t c);             // \p{N} of Oniguruma
bool is_punctuation(char32_t c);        // P*, and the ASCII symbols, as BERT counts
bool is_bert_control(char32_t c);       // removed by BERT's clean_text
bool is_chinese(char32_t c);            // BERT's blocks of ideographs
bool is_nonspacing_mark(char32_t c);    // Mn
bool is_combining_mark(char32_t c);     // M*
bool is_word(char32_t c);               // \w of the regular expressions of Rust
char32_t simple_lowercase(char32_t c);  // all but U+0130, which becomes two characters

}  // namespace halftone::text
