// A SPEC taken apart (grammar: dataset.h), and data sets that are a choice of another one's samples.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/share.h"

namespace halftone::data {

struct RangeEnd {
  int64_t value = 0;  // a count (negative: from the end), or hundredths of a percent
  bool percent = false;
};
struct Range {
  std::optional<RangeEnd> begin;
  std::optional<RangeEnd> end;
};
struct Spec {
  std::string path;
  std::string split;  // canonical; empty: none named
  std::optional<Range> range;
  std::optional<Share> share;
};

// Error(kUsage) when the brackets don't make sense.
Spec parse_spec(const std::string& text);

// train, val or test for their synonyms, anything else as it is (lower case for the known ones only).
std::string canonical_split(std::string_view name);
// Whether a folder of this name is a split rather than a class.
bool is_split_name(std::string_view name);

// The split to take of those that are there (canonical names): the SPEC's, else the first of the preferred.
// Error names all.
std::string choose_split(const Spec& spec, const std::vector<std::string>& preferred,
                         const std::vector<std::string>& there);

// [begin, end) of `size` samples; Error(kUsage) when it is empty or outside.
std::pair<int64_t, int64_t> resolve_range(const Range& range, int64_t size, const std::string& path);

// Samples indices[0], indices[1], … of `base`.
std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices);

}  // namespace halftone::data
