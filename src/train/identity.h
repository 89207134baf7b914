// What a run is: its model, its data and the options that its result depends on, as texts. A checkpoint
// carries them, so that no run is continued as another one unnoticed.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::train {

// "--batch" -> "128", "model" -> "1234 bytes, crc32c 1a2b3c4d".
using Identity = std::map<std::string, std::string>;

struct Difference {
  std::string name, was, is;
};
// The value of an option that was not given and has no default: a null in YAML.
inline constexpr std::string_view kNotGiven = "~";

// Of the names that both have: all options of a version. Numbers count by their value.
std::vector<Difference> differences(const Identity& was, const Identity& is);

// The options with a value in `is` of which `was` says nothing, as "--output is h; ...": an earlier version
// did not record options that were not given, or did not know these. Empty: there are none.
std::string not_compared(const Identity& was, const Identity& is);

// "--batch was 16 and is 32; model was ... and is ...".
std::string text_of(const std::vector<Difference>& differences);

// The options of a flat YAML text (`key: value` lines), as "--key". An option may be kNotGiven.
Identity options_of(std::string_view yaml);

}  // namespace halftone::train
