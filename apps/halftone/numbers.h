// Numbers on the command line and in configurations: what is written is the number that is used.
#pragma once

#include <CLI/CLI.hpp>

namespace cli {

// The type of an option that takes a whole number, or the word auto, which is 0.
inline constexpr const char* kNumberOrAuto = "INT|auto";

// Adds a check to every numeric option of `app` and of its commands: a whole number in decimal digits within
// the range of its type, or a finite number that fp64 can represent. The parser alone takes
// 18446744073709551616 for the largest number, 010 for 8, and 1e999 for infinity.
void check_numbers(CLI::App& app);

}  // namespace cli
