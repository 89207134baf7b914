// The marks of a table: what delimits its cells, and what stands in its numbers. Private to src/data.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/delimited.h"

namespace halftone::data {

using Row = std::vector<Cell>;

bool is_number(const Cell& cell);

struct Delimiter {
  char mark;
  const char* name;    // as --csv-delimiter has it
  const char* spoken;  // "comma-separated"
};
inline constexpr std::array<Delimiter, 4> kDelimiters = {{{',', "comma", "comma-separated"},
                                                          {';', "semicolon", "semicolon-separated"},
                                                          {'\t', "tab", "tab-separated"},
                                                          {'|', "pipe", "separated by |"}}};
// Of --csv-delimiter; none: it has to be found.
std::optional<char> asked_delimiter(const std::string& text);

// The first lines of a table.
struct LineStart {
  std::vector<Row> rows;
  std::vector<int64_t> lines;
  size_t columns = 0;  // that most rows have; of several such numbers the first row's, or the one seen first
  size_t cells = 0;
  size_t numbers = 0;  // of rows with `columns` cells
  size_t matching = 0;
};
LineStart start_of(std::string_view text, char delimiter);

// The delimiter under which most cells are numbers in lines of equal width.
char find_delimiter(std::string_view text, const std::string& path);

// Of --csv-decimal; none: it has to be found.
std::optional<char> asked_decimal(const std::string& text);
// Counts the forms of numbers in the whole table. The mark that more numbers have is the table's; what
// disagrees is an error when it is read.
char find_decimal(std::string_view text, char delimiter, const std::string& path);

}  // namespace halftone::data
