// The cells of a table's columns, as they are read and prepared. Private to src/data.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data/columns.h"
#include "data/table.h"

namespace halftone::data {

using Preparation = PreparedColumn::Kind;

// What is kept of a column's cells, one a sample.
struct Cells {
  bool numbers_wanted = false, texts_wanted = false;
  std::vector<double> numbers;
  std::vector<int32_t> codes;  // of its categories; -1: none of them
  std::vector<std::string> texts;
  std::optional<PreparedColumn> prepared;
  bool measured = false;             // `prepared` has the numbers of the training data
  std::set<std::string> categories;  // until they are ordered
  std::map<std::string, int32_t> code_of;
  std::string wanted_by;
};

std::string option_of(Preparation kind);

// Why a cell is no category; empty: it is one.
std::string why_no_category(const Cell& cell);

// Where samples come from, for messages.
struct Places {
  std::string path;
  TableFormat table;
  std::vector<int64_t> lines;  // each sample's

  std::string line(int64_t sample) const {
    return fmt::format("{}, line {}", path, lines.at(static_cast<size_t>(sample)));
  }
  std::string cell(int64_t sample, size_t column) const {
    return fmt::format("{}, {}", path,
                       place_of(table, lines.at(static_cast<size_t>(sample)), static_cast<int64_t>(column)));
  }
};

}  // namespace halftone::data
