// Orders of axes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halftone {

// Transposing by `perm`, then by the result, changes nothing. perm holds 0 to perm.size() - 1, each once.
inline std::vector<int64_t> inverse(const std::vector<int64_t>& perm) {
  std::vector<int64_t> out(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) out[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return out;
}

}  // namespace halftone
