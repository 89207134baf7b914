// Membership in a short list of words.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string_view>

namespace halftone {

template <class Words>
bool is_one_of(std::string_view word, const Words& words) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}
inline bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace halftone
