// Names that a user picks by patterns: which tensors are trained and which stay as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace halftone {

// Whether `name` is the pattern, or matches it: * stands for any letters, ? for one, [abc] for one of these.
bool matches(const std::string& name, const std::string& pattern);

// How much a pattern says: its letters, without * and ?.
size_t pattern_letters(const std::string& pattern);

enum class Choice : uint8_t { kNone, kTrain, kFreeze };

// The patterns of --train and --freeze.
struct TrainFreeze {
  std::vector<std::string> train;
  std::vector<std::string> freeze;
  std::string option = {};  // that all of them come from, if it is another one: what reasons name

  // What the patterns say about a thing with these names. Where both options match it, the pattern with more
  // letters counts (--freeze '*' --train 'head*' trains the head alone); usage Error when they have as many.
  Choice of(const std::vector<std::string>& names) const;
};

}  // namespace halftone
