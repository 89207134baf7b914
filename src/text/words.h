// A text on its way to tokens: the parts ("words") that added tokens and pre-tokenizers split it into.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "text/aligned.h"

namespace halftone::text {

struct Word {
  uint32_t begin = 0;  // in the buffer's text
  uint32_t end = 0;
  uint32_t original_begin = 0;  // where the part that it was split from begins in the original
  int32_t added = -1;           // the id of the added token that it is: not to be split further
};

struct Words {
  Aligned buffer;
  std::vector<Word> words;  // in order; none is empty

  std::string_view text(const Word& w) const {
    return std::string_view(buffer.text).substr(w.begin, w.end - w.begin);
  }
};

// A part of a word's text that a pattern matched, or that lies between such.
struct Match {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool matched = false;
};

// What becomes of what a pattern matched.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Appends the parts of a text, in order, without gaps.
using Matcher = std::function<void(std::string_view text, std::vector<Match>& out)>;
Matcher match_characters(std::function<bool(char32_t)> is_matched);

// Splits every word that is no added token.
void split_words(Words& words, const Matcher& matcher, Behavior behavior);

}  // namespace halftone::text
