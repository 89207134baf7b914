// The columns that were chosen as arrays. Private to src/data.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/array.h"
#include "data/column_cells.h"

namespace halftone::data {

// A table whose cells were read; one of `seen.columns` and of `cells` a column.
struct ReadTable {
  const std::string& path;
  const TableFormat& table;
  std::shared_ptr<const Places> places;
  int64_t samples = 0;
  const TableColumns& seen;
  const std::vector<Cells>& cells;
  const std::map<int64_t, std::string>& bad;  // samples that cannot be used, and why
  std::string name(size_t column) const { return table.name_to_give(static_cast<int64_t>(column)); }
};

// The array that holds none of what it was made from. Error: a number that is not whole where whole ones are
// taken, or neither 0 nor 1 where truths are.
Array column_array(const ColumnGroup& group, const ReadTable& table);

}  // namespace halftone::data
