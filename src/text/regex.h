// Regular expressions in the dialect of tokenizer.json: Oniguruma's.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_tree.h"
#include "text/words.h"

namespace halftone::text {

// Immutable; may be used by many threads at once.
class Regex {
 public:
  // Error: the expression is none, named by `at`.
  Regex(const JsonAt& at, const std::string& expression);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // All matches and what is between them, in order. Error: the search needs too many steps.
  void find_all(std::string_view text, std::vector<Match>& out) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
  std::string file_;
  std::string expression_;
};

// {"String": …} or {"Regex": …}.
Matcher read_pattern(const JsonAt& at);

}  // namespace halftone::text
