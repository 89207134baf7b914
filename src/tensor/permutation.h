// Orders of axes.
#pragma once

#include <algorithm>
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

// [N, C, ...] as [N, ..., C].
inline std::vector<int64_t> channels_last(size_t rank) {
  std::vector<int64_t> perm{0};
  for (size_t i = 2; i < rank; ++i) perm.push_back(static_cast<int64_t>(i));
  perm.push_back(1);
  return perm;
}

// The other axes in their order, then these.
inline std::vector<int64_t> axes_last(const std::vector<int64_t>& axes, size_t rank) {
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < static_cast<int64_t>(rank); ++i)
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) perm.push_back(i);
  perm.insert(perm.end(), axes.begin(), axes.end());
  return perm;
}

}  // namespace halftone
