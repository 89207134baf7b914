#include "base/patterns.h"

#include <fnmatch.h>

#include "base/error.h"

namespace halftone {
namespace {

std::string letters_of(const std::string& pattern) {
  std::string out;
  for (const char c : pattern)
    if (c != '*' && c != '?') out += c;
  return out;
}

// The pattern that matches with the most letters; null: none does.
const std::string* best(const std::vector<std::string>& names, const std::vector<std::string>& patterns) {
  const std::string* found = nullptr;
  for (const std::string& pattern : patterns)
    for (const std::string& name : names)
      if (matches(name, pattern) &&
          (found == nullptr || letters_of(pattern).size() > letters_of(*found).size()))
        found = &pattern;
  return found;
}

}  // namespace

size_t pattern_letters(const std::string& pattern) {
  return letters_of(pattern).size();
}

bool matches(const std::string& name, const std::string& pattern) {
  return name == pattern || fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

Choice TrainFreeze::of(const std::vector<std::string>& names) const {
  const std::string* trains = best(names, train);
  const std::string* freezes = best(names, freeze);
  if (trains == nullptr) return freezes == nullptr ? Choice::kNone : Choice::kFreeze;
  if (freezes == nullptr) return Choice::kTrain;
  const size_t a = letters_of(*trains).size();
  const size_t b = letters_of(*freezes).size();
  if (a == b)
    throw usage_error(
        "--train {} and --freeze {} both name '{}'; the pattern with more letters counts, so "
        "make one of them longer",
        *trains, *freezes, names.front());
  return a > b ? Choice::kTrain : Choice::kFreeze;
}

}  // namespace halftone
