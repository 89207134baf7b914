// What kind of table a delimited text is: decided from its first lines and by the options, before any sample
// is read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/delimited.h"

namespace halftone::data {

struct TableFormat {
  char delimiter = ',';
  char decimal = '.';
  bool header = false;             // the first record names the columns
  std::vector<std::string> names;  // of the columns; empty without a header
  int64_t columns = 0;             // of every record
  int64_t label = -1;              // the label's column, counted from 0; -1: none
  int64_t row_numbers = -1;        // a column without a name that counts the records; -1: none
  int64_t first_row_number = 0;
  bool trailing_delimiter = false;  // the last column is empty on every line
  std::string said;                 // all this in a line for people

  // Whether the column holds values of a sample.
  bool is_feature(int64_t column) const {
    return column != label && column != row_numbers && !(trailing_delimiter && column == columns - 1);
  }
  int64_t features() const;
  // What an option calls a column: its name in the header, else #NUMBER, counted from 0.
  std::string name_to_give(int64_t column) const;
};

// "column 2 (--label-column 1)", or "column 2 (width)" when the header names it: counted from 1 as editors
// do, while the option counts from 0. For messages on which column is the label.
std::string column_of(const TableFormat& table, int64_t column);
// "line 3, column 2 (width)".
std::string place_of(const TableFormat& table, int64_t line, int64_t column);

// What keeps a record from being a sample, with the place; empty: nothing.
std::string what_is_wrong(const TableFormat& table, const std::string& path, const Record& record);
// Whether a record has the names of the columns.
bool is_header_again(const TableFormat& table, const Record& record);
// For messages on the first sample: the line may have been meant as the header. Empty for others.
std::string of_first_line(const TableFormat& table, int64_t row);
// What to try where a cell is a word and no number; empty where it is a missing or damaged number.
std::string advice_for_text(const TableFormat& table, int64_t column, const std::string& cell);

// The format of `text`, which is UTF-8. Errors name `path`: kUsage for options without meaning; kInput for a
// text that is no table, or where what is meant cannot be decided (whether its first line names the columns,
// which delimiter, decimal mark or label column it has), with the option that decides it.
TableFormat recognise_table(std::string_view text, const std::string& path, const OpenOptions& options);

}  // namespace halftone::data
