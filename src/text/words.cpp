#include "text/words.h"

#include <algorithm>
#include <utility>

namespace halftone::text {
namespace {

// Turns matches into the parts that stay; `matched` says then which of them are dropped.
void apply_behavior(std::vector<Match>& matches, Behavior behavior) {
  std::vector<Match> parts;
  bool before = false;
  switch (behavior) {
    case Behavior::kRemoved:
      return;
    case Behavior::kIsolated:
      for (Match& m : matches) m.matched = false;
      return;
    case Behavior::kContiguous:
      for (const Match& m : matches) {
        if (m.matched == before && !parts.empty())
          parts.back().end = m.end;
        else
          parts.push_back({m.begin, m.end, false});
        before = m.matched;
      }
      break;
    case Behavior::kMergedWithPrevious:
      for (const Match& m : matches) {
        if (m.matched && !before && !parts.empty())
          parts.back().end = m.end;
        else
          parts.push_back({m.begin, m.end, false});
        before = m.matched;
      }
      break;
    case Behavior::kMergedWithNext:
      for (auto m = matches.rbegin(); m != matches.rend(); ++m) {
        if (m->matched && !before && !parts.empty())
          parts.back().begin = m->begin;
        else
          parts.push_back({m->begin, m->end, false});
        before = m->matched;
      }
      std::reverse(parts.begin(), parts.end());
      break;
  }
  matches = std::move(parts);
}

}  // namespace

Matcher match_characters(std::function<bool(char32_t)> is_matched) {
  return [is_matched = std::move(is_matched)](std::string_view text, std::vector<Match>& out) {
    uint32_t open = 0;
    for (size_t at = 0; at < text.size();) {
      const auto begin = static_cast<uint32_t>(at);
      if (!is_matched(next_character(text, at))) continue;
      if (open < begin) out.push_back({open, begin, false});
      open = static_cast<uint32_t>(at);
      out.push_back({begin, open, true});
    }
    if (open < text.size()) out.push_back({open, static_cast<uint32_t>(text.size()), false});
  };
}

void split_words(Words& words, const Matcher& matcher, Behavior behavior) {
  std::vector<Word> out;
  out.reserve(words.words.size() * 2);
  std::vector<Match> matches;
  for (const Word& w : words.words) {
    if (w.added >= 0) {
      out.push_back(w);
      continue;
    }
    matches.clear();
    matcher(words.text(w), matches);
    apply_behavior(matches, behavior);
    for (const Match& m : matches) {
      if (m.matched || m.begin == m.end) continue;
      out.push_back({w.begin + m.begin, w.begin + m.end, words.buffer.from[w.begin + m.begin].begin, -1});
    }
  }
  words.words = std::move(out);
}

}  // namespace halftone::text
