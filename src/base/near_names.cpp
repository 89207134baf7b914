#include "base/near_names.h"

#include <algorithm>
#include <numeric>

namespace halftone {
namespace {

char lower(char c) {
  return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

// Levenshtein's distance.
size_t changes(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// What is left of a name when case, wildcards and the signs between its parts don't count.
std::string letters(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (std::string_view("*?./:_-[]").find(c) == std::string_view::npos) out += lower(c);
  return out;
}

}  // namespace

std::vector<std::string> near_names(std::string_view wanted, const std::vector<std::string>& names,
                                    size_t count) {
  constexpr size_t kLongest = 200;  // of names that are compared letter by letter
  const std::string want = letters(wanted.substr(0, kLongest));
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& name : names) {
    const std::string have = letters(std::string_view(name).substr(0, kLongest));
    const size_t start = static_cast<size_t>(
        std::mismatch(want.begin(), want.end(), have.begin(), have.end()).first - want.begin());
    const size_t away = changes(want, have);
    const bool part = !want.empty() && (have.find(want) != std::string::npos ||
                                        (have.size() >= 3 && want.find(have) != std::string::npos));
    const bool begins = start >= 2 && 2 * start >= want.size();
    const bool similar = 2 * away <= std::max(want.size(), have.size());
    if (!part && !begins && !similar) continue;
    ranked.emplace_back(part ? away : away + kLongest - std::min(start, kLongest), name);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> out;
  for (size_t i = 0; i < ranked.size() && i < count; ++i) out.push_back(ranked[i].second);
  return out;
}

}  // namespace halftone
