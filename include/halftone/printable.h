// Text from files and command lines on its way to people.
#pragma once

#include <string>
#include <string_view>

namespace halftone {

// The text with what a terminal or a log would act on made visible: control characters (C0, delete, C1) as
// \n, \t, \r, \x1b, \u009b, bytes that are not UTF-8 as \xff. With `keep_lines` line breaks stay. The result
// is UTF-8.
std::string printable(std::string_view text, bool keep_lines = false);

// Whether the bytes are UTF-8 (shortest forms, no surrogates, up to U+10FFFF).
bool is_utf8(std::string_view text);

}  // namespace halftone
