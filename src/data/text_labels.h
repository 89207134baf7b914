// Labels that a table has as text: numbers, or the names of classes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/labels.h"

namespace halftone::data {

// From there on a double no longer counts in ones.
inline constexpr double kMostWhole = 0x1p53;

struct TextLabels {
  std::string where;  // the file, and the column in it
  std::string path;
  std::vector<std::string> cells;  // one a sample
  char decimal = '.';
  std::function<std::string(int64_t)> place;  // a sample's label: file, line, column
  std::string of_first_sample;                // what to say of the first sample's besides
  std::map<int64_t, std::string> bad = {};    // samples that cannot be used, and why
};

// Names where not all are numbers, or where options.class_map has all of them. Errors (with options.skip_bad
// such samples become bad ones): text where most labels are numbers. Errors: names that are not UTF-8; more
// than 1000 names that nobody asked for.
RawLabels raw_labels(TextLabels labels, const OpenOptions& options);

}  // namespace halftone::data
