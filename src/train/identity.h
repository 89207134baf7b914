// What a run is: its model, its data and the options that its result depends on, as texts. A checkpoint carries them, so
// that no run is continued as another one unnoticed.
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
// Of the names that both have (an older version may not know an option yet). Numbers count by their value.
std::vector<Difference> differences(const Identity& was, const Identity& is);

// "--batch was 16 and is 32; model was ... and is ...".
std::string text_of(const std::vector<Difference>& differences);

// The options of a flat YAML text (`key: value` lines), as "--key", without those that change neither the steps of a run
// nor their results: how long it goes on, what is kept and logged, threads, where files lie.
Identity options_of(std::string_view yaml);

}  // namespace halftone::train
