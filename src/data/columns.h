// Columns of a table as fields of samples: which feed an input or a loss, and how they become numbers.
//
// A network that takes standardised columns or categories needs the numbers of the data that it was trained
// on: a ColumnPlan has them. It travels as the class map does: in the run's folder, its checkpoints and the
// written network's metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/field.h"

namespace halftone::data {

struct PreparedColumn {
  enum class Kind : uint8_t {
    kStandardized,  // (x - mean) / deviation
    kOneHot,        // a number for each category: 1 for the cell's, else 0
    kCodes,         // the number of the cell's category
  };
  std::string name;  // of the header, or #NUMBER, counted from 0
  Kind kind = Kind::kStandardized;
  double mean = 0,
         deviation = 1;  // kStandardized; the deviation is that of all samples (divided by their number)
  std::vector<std::string> categories;  // the others: number i is categories[i]
  bool operator==(const PreparedColumn&) const = default;
};

// What was decided on the columns of the training data. Columns are named as in PreparedColumn.
struct ColumnPlan {
  std::map<std::string, std::vector<std::string>> inputs;  // those of each input, in their order
  std::vector<std::string> labels;                         // of losses that name no column
  std::vector<PreparedColumn> prepared;
  std::string source;  // where it comes from, for messages
  bool empty() const { return inputs.empty() && labels.empty() && prepared.empty(); }
  const PreparedColumn* find(const std::string& name) const;
};
// A JSON object, and back. Error names `source`: it is none of these.
std::string to_json(const ColumnPlan& plan);
ColumnPlan plan_from_json(std::string_view text, const std::string& source);

// What is asked for. Each text is a list of columns.
struct ColumnOptions {
  std::vector<std::string> exclude;
  std::vector<std::string> standardize;  // "all": numbers that feed inputs of floats
  std::vector<std::string> one_hot;
  std::vector<std::string> codes;
  bool unknown_is_zero =
      false;                  // one-hot: a category that the training data has not is all zeros, not an error
  bool default_label = true;  // a loss reads --label-column, or the last column
  std::vector<std::string>
      named;             // columns that are asked for by name: a first line that has one is the header
  ColumnPlan kept;       // of the training data
  bool measures = true;  // what `kept` has not is measured here; false: it is an error
  bool any() const { return !exclude.empty() || !standardize.empty() || !one_hot.empty() || !codes.empty(); }
};

// A column as it is seen before anybody decides what it feeds.
struct TableColumn {
  std::string name;  // as in PreparedColumn
  bool usable =
      true;  // false: it counts the lines, is left out, or stands behind a delimiter that ends each line
  bool excluded = false;
  bool codes = false, one_hot = false, standardized = false;
  int64_t width = 1;  // numbers that it becomes
};
struct TableColumns {
  std::vector<TableColumn> columns;
  std::vector<std::string> header;  // empty: there is none
  int64_t samples = 0;
  std::vector<size_t> labels;  // of losses that name no column
};

// The columns that a list names: NAME, #NUMBER or NUMBER (counted from 0; negative: from the end),
// FIRST..LAST, and several of these with commas between them. A text that is a column's name is that column.
// Errors name `option`.
std::vector<size_t> columns_in(const std::string& list, const std::vector<std::string>& header,
                               size_t columns, const std::string& option, const std::string& path);
// The column that a plan calls `name` (PreparedColumn::name): the one of that name, else, of #NUMBER, the one
// of that number. Nothing else: a name may look like a list, a range or a number. Nullopt: there is none, or
// there are several.
std::optional<size_t> find_kept_column(const std::string& name, const std::vector<std::string>& header,
                                       size_t columns);
// The same; an error names `option`.
size_t kept_column(const std::string& name, const std::vector<std::string>& header, size_t columns,
                   const std::string& option, const std::string& path);
// The words of a list that may be names.
std::vector<std::string> words_of(const std::string& list);

// Columns that feed one input, or one loss.
struct ColumnGroup {
  enum class As : uint8_t { kFloats, kIntegers, kTruths, kLabels, kWeights };
  std::string name;  // of the array that they become: ArrayHeader::stored
  std::vector<size_t> columns;
  As as = As::kFloats;
  Shape shape;                  // of one sample
  std::string wanted_by;        // for messages: "input 'x'"
  std::string input;            // of the network; empty: it feeds none
  bool default_labels = false;  // of losses that name no column
};
struct ColumnChoice {
  ArrayChoice arrays;
  std::vector<ColumnGroup> groups;
};
// Asked by the reader of tables. It may throw.
using ChooseColumns = std::function<ColumnChoice(const TableColumns& columns, const std::string& path)>;

}  // namespace halftone::data
