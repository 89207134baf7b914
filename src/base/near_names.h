// Names that somebody may have meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone {

// Those of `names` that are nearest to `wanted`, which may be a pattern: a common beginning or a part in
// common counts, then the number of letters to change. At most `count`, nearest first; names that have
// nothing in common with it are left out.
std::vector<std::string> near_names(std::string_view wanted, const std::vector<std::string>& names,
                                    size_t count = 5);

}  // namespace halftone
