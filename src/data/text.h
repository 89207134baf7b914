// Bytes of a text file as UTF-8, and pieces of such a text in messages.
#pragma once

#include <string>
#include <string_view>

namespace halftone::data {

// `bytes` as UTF-8 without a byte order mark. UTF-16 with a byte order mark is converted. Errors, naming
// `path`: UTF-32, UTF-16 without a byte order mark or damaged, compressed files, bytes of zero.
std::string text_of(std::string bytes, const std::string& path);

// A to Z as a to z; other characters stay.
std::string lower_case(std::string_view text);

// Without blanks, tabs and line ends around it.
std::string_view trimmed(std::string_view text);

// The first 40 bytes or so of a text for a message, with control characters and bytes that are no UTF-8 as
// \xNN.
std::string shown(std::string_view text);

}  // namespace halftone::data
