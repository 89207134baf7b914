// Commands that people are shown, to be copied into a shell.
#pragma once

#include <string>

namespace halftone {

// The word as it is, or quoted where a POSIX shell would take it for something else.
std::string shell_word(const std::string& word);

}  // namespace halftone
