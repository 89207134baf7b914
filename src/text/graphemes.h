// Characters as readers see them: Unicode's extended grapheme clusters.
#pragma once

#include <cstddef>
#include <string_view>

namespace halftone::text {

// Where the cluster that begins at `at` ends. The text is well-formed UTF-8, and `at` is where a cluster begins.
size_t grapheme_end(std::string_view text, size_t at);

}  // namespace halftone::text
