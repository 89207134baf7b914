#include "data/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "data/number.h"
#include "data/text.h"

namespace halftone::data {

std::string TableFormat::name_to_give(int64_t column) const {
  const auto i = static_cast<size_t>(column);
  const std::string numbered = fmt::format("#{}", column);
  if (i >= names.size() || names[i].empty() || std::count(names.begin(), names.end(), names[i]) > 1)
    return numbered;
  return names[i];
}

int64_t TableFormat::features() const {
  int64_t n = 0;
  for (int64_t c = 0; c < columns; ++c) n += is_feature(c) ? 1 : 0;
  return n;
}

namespace {

// Empty: the column has none.
std::string name_of(const TableFormat& table, int64_t column) {
  const auto i = static_cast<size_t>(column);
  return column >= 0 && i < table.names.size() ? table.names[i] : "";
}

}  // namespace

std::string column_of(const TableFormat& table, int64_t column) {
  const std::string name = name_of(table, column);
  return name.empty() ? fmt::format("column {} (--label-column {})", column + 1, column)
                      : fmt::format("column {} ({})", column + 1, shown(name));
}

std::string place_of(const TableFormat& table, int64_t line, int64_t column) {
  std::string text = fmt::format("line {}, column {}", line, column + 1);
  const std::string name = name_of(table, column);
  return name.empty() ? text : fmt::format("{} ({})", text, shown(name));
}

std::string what_is_wrong(const TableFormat& table, const std::string& path, const Record& record) {
  const auto at = [&](int64_t line, int64_t column) {
    return fmt::format("{}, {}", path, place_of(table, line, column));
  };
  if (!record.wrong.empty())
    return fmt::format("{}: {}", at(record.wrong_line, static_cast<int64_t>(record.wrong_cell)),
                       record.wrong);
  const auto count = static_cast<int64_t>(record.count);
  if (count != table.columns) {
    // The first cell that is missing or too many; where a delimiter ends each line, what it delimits is no
    // cell.
    const bool ends =
        table.trailing_delimiter && (count > table.columns || record.cells[record.count - 1].text.empty());
    const int64_t column = std::max<int64_t>(0, std::min(count, table.columns) - (ends ? 1 : 0));
    return fmt::format("{}: the line has {} cells, the table {} columns",
                       at(record.cells[static_cast<size_t>(std::min(column, count - 1))].line, column), count,
                       table.columns);
  }
  if (table.trailing_delimiter && !record.cells[record.count - 1].text.empty())
    return fmt::format("{}: \"{}\" in a column that is empty on the lines above",
                       at(record.cells[record.count - 1].line, count - 1),
                       shown(record.cells[record.count - 1].text));
  return {};
}

bool is_header_again(const TableFormat& table, const Record& record) {
  const auto end = record.cells.begin() + static_cast<std::ptrdiff_t>(record.count);
  return table.header &&
         std::equal(record.cells.begin(), end, table.names.begin(), table.names.end(),
                    [](const Cell& cell, const std::string& name) { return cell.text == name; });
}

std::string of_first_line(const TableFormat& table, int64_t row) {
  if (row > 0 || table.header) return {};
  return " (the first line is taken as a sample; --csv-header yes if it names the columns)";
}

std::string advice_for_text(const TableFormat& table, int64_t column, const std::string& cell) {
  if (form_of(cell) != NumberForm::kNone || is_missing_number(cell)) return {};
  const std::string name = table.name_to_give(column);
  return fmt::format(
      "; --one-hot {} or --codes {} reads the column as categories, --exclude-columns {} leaves it out", name,
      name, name);
}

}  // namespace halftone::data
