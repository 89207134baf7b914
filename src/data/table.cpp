#include "data/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "data/number.h"
#include "data/text.h"

namespace halftone::data {
namespace {

// The records that decide: enough that a few odd ones don't, few enough to be held.
constexpr size_t kSampleRecords = 1000;
constexpr size_t kSampleCells = 200'000;

using Row = std::vector<Cell>;

bool is_number(const Cell& cell) {
  const NumberForm form = form_of(cell.text);
  return form != NumberForm::kNone;
}

// ---- delimiter

struct Delimiter {
  char mark;
  const char* name;    // as --csv-delimiter has it
  const char* spoken;  // "comma-separated"
};
constexpr std::array<Delimiter, 4> kDelimiters = {{{',', "comma", "comma-separated"},
                                                   {';', "semicolon", "semicolon-separated"},
                                                   {'\t', "tab", "tab-separated"},
                                                   {'|', "pipe", "separated by |"}}};

std::optional<char> asked_delimiter(const std::string& text) {
  if (text == "auto" || text.empty()) return std::nullopt;
  for (const Delimiter& d : kDelimiters)
    if (text == d.name || text == std::string(1, d.mark)) return d.mark;
  throw usage_error("--csv-delimiter {} is not known; it is auto, comma, semicolon, tab or pipe",
                    shown(text));
}

struct LineStart {
  std::vector<Row> rows;
  std::vector<int64_t> lines;
  size_t columns = 0;  // that most rows have; of several such numbers the first row's, or the one seen first
  size_t cells = 0;
  size_t numbers = 0;  // of rows with `columns` cells
  size_t matching = 0;
};

LineStart start_of(std::string_view text, char delimiter) {
  LineStart start;
  Records records(text, delimiter);
  Record record;
  std::vector<size_t> counts;
  std::vector<size_t> numbers;
  while (start.rows.size() < kSampleRecords && start.cells < kSampleCells && records.next(record)) {
    if (record.fatal) break;
    const auto end = record.cells.begin() + static_cast<std::ptrdiff_t>(record.count);
    start.rows.emplace_back(record.cells.begin(), end);
    start.lines.push_back(record.line);
    start.cells += record.count;
    counts.push_back(record.count);
    numbers.push_back(static_cast<size_t>(std::count_if(record.cells.begin(), end, is_number)));
  }
  std::map<size_t, size_t> frequency;
  for (const size_t n : counts) ++frequency[n];
  for (const size_t n : counts)
    if (start.columns == 0 || frequency[n] > frequency[start.columns]) start.columns = n;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != start.columns) continue;
    ++start.matching;
    start.numbers += numbers[i];
  }
  return start;
}

// The delimiter under which most cells are numbers in lines of equal width.
char find_delimiter(std::string_view text, const std::string& path) {
  struct Score {
    double numbers, matching;
    auto operator<=>(const Score&) const = default;
  };
  std::optional<Score> best;
  const Delimiter* chosen = nullptr;
  const Delimiter* equal = nullptr;
  for (const Delimiter& d : kDelimiters) {
    if (text.find(d.mark) == std::string_view::npos) continue;
    const LineStart sample = start_of(text, d.mark);
    if (sample.columns < 2) continue;
    const Score score{static_cast<double>(sample.numbers) / static_cast<double>(sample.cells),
                      static_cast<double>(sample.matching) / static_cast<double>(sample.rows.size())};
    if (!best || score > *best) {
      best = score;
      chosen = &d;
      equal = nullptr;
    } else if (score == *best) {
      equal = &d;
    }
  }
  if (equal != nullptr)
    throw input_error("{}: its cells may be {} or {}; say which with --csv-delimiter {} or {}", path,
                      chosen->spoken, equal->spoken, chosen->name, equal->name);
  return chosen == nullptr ? ',' : chosen->mark;
}

// ---- decimal mark

std::optional<char> asked_decimal(const std::string& text) {
  if (text == "auto" || text.empty()) return std::nullopt;
  if (text == "point") return '.';
  if (text == "comma") return ',';
  throw usage_error("--csv-decimal {} is not known; it is auto, point or comma", shown(text));
}

// Counts the forms of numbers in the whole table. The mark that more numbers have is the table's; what
// disagrees is an error when it is read.
char find_decimal(std::string_view text, char delimiter, const std::string& path) {
  // Without a comma inside cells there is nothing to decide.
  if (text.find(delimiter == ',' ? '"' : ',') == std::string_view::npos) return '.';
  Records records(text, delimiter);
  Record record;
  int64_t points = 0;
  int64_t commas = 0;
  std::string either;  // the first 1,234
  while (records.next(record)) {
    for (size_t i = 0; i < record.count; ++i) {
      const Cell& cell = record.cells[i];
      const NumberForm form = form_of(cell.text);
      points += form == NumberForm::kPoint ? 1 : 0;
      commas += form == NumberForm::kComma ? 1 : 0;
      if (form == NumberForm::kEither && either.empty())
        either = fmt::format("{}, line {}, column {}: \"{}\"", path, cell.line, i + 1, shown(cell.text));
    }
  }
  if (commas > points) return ',';
  if (either.empty() || points > 0) return '.';
  throw input_error(
      "{} has a decimal comma or a thousands separator, and no other number of the table says which; "
      "--csv-decimal "
      "comma reads the decimal comma, thousands separators are not read",
      either);
}

// ---- header

enum class HeaderChoice { kAuto, kYes, kNo };

HeaderChoice asked_header(const std::string& text) {
  if (text == "auto" || text.empty()) return HeaderChoice::kAuto;
  if (text == "yes" || text == "true") return HeaderChoice::kYes;
  if (text == "no" || text == "false") return HeaderChoice::kNo;
  throw usage_error("--csv-header {} is not known; it is auto, yes or no", shown(text));
}

// Names that say that a column is the label.
bool names_a_label(const std::string& name) {
  constexpr std::array<std::string_view, 12> kWords = {
      "label",   "labels",   "class",   "classes",     "target",     "targets",
      "species", "category", "outcome", "class_label", "classlabel", "ground_truth"};
  return std::find(kWords.begin(), kWords.end(), lower_case(name)) != kWords.end();
}

bool has_no_name(const Cell& cell) {
  return cell.text.empty() || cell.text.starts_with("Unnamed:");
}

// The whole number that a cell is.
std::optional<int64_t> whole(const Cell& cell) {
  int64_t n = 0;
  const char* end = cell.text.data() + cell.text.size();
  const auto [p, error] = std::from_chars(cell.text.data(), end, n);
  if (error != std::errc() || p != end) return std::nullopt;
  return n;
}

// Whether the cells in these columns count upward in ones.
bool counts_up(const Row& row, const std::vector<size_t>& columns) {
  std::optional<int64_t> last;
  for (const size_t c : columns) {
    const std::optional<int64_t> n = whole(row[c]);
    if (!n || (last && *n != *last + 1)) return false;
    last = n;
  }
  return columns.size() >= 2;
}

class Recogniser {
 public:
  Recogniser(std::string_view text, const std::string& path, const OpenOptions& options)
      : text_(text), path_(path), options_(options) {}

  TableFormat run() {
    const std::optional<char> delimiter = asked_delimiter(options_.csv_delimiter);
    const std::optional<char> decimal = asked_decimal(options_.csv_decimal);
    const HeaderChoice header = asked_header(options_.csv_header);
    table_.delimiter = delimiter ? *delimiter : find_delimiter(text_, path_);
    table_.decimal = decimal ? *decimal : find_decimal(text_, table_.delimiter, path_);
    sample_ = start_of(text_, table_.delimiter);
    if (sample_.rows.empty()) check_quote();
    table_.columns = static_cast<int64_t>(sample_.columns);
    // Where the first line has another width than most, it is an error like any other, and no header.
    first_fits_ = sample_.rows[0].size() == sample_.columns;
    if (!first_fits_ && header == HeaderChoice::kYes)
      throw input_error("{}, line {}: the header has {} cells, but the lines below have {}", path_,
                        sample_.lines[0], sample_.rows[0].size(), sample_.columns);
    find_trailing_delimiter();
    if (used_columns() < 2 && options_.label_column != "none")
      throw input_error(
          "{}, line {}: expected numbers separated by commas, semicolons, tabs or |, and a label; found "
          "\"{}\"",
          path_, sample_.lines[0], shown(sample_.rows[0][0].text));
    decide_header(header);
    if (table_.header) name_columns();
    find_row_numbers();
    find_label();
    if (table_.features() < 1) throw input_error("{}: beside the label it has no column of numbers", path_);
    say();
    return table_;
  }

 private:
  int64_t used_columns() const { return table_.columns - (table_.trailing_delimiter ? 1 : 0); }

  void check_quote() const {
    Records records(text_, table_.delimiter);
    Record record;
    if (records.next(record) && record.fatal)
      throw input_error("{}, line {}, column {}: {}", path_, record.wrong_line, record.wrong_cell + 1,
                        record.wrong);
    throw input_error("{}: it holds no samples{}", path_, text_.empty() ? ": the file is empty" : "");
  }

  void find_trailing_delimiter() {
    if (sample_.columns < 3) return;
    for (const Row& row : sample_.rows)
      if (row.size() == sample_.columns && (!row.back().text.empty() || row.back().quoted)) return;
    table_.trailing_delimiter = true;
  }

  // ---- the header
  [[noreturn]] void undecided(const std::string& why) const {
    throw input_error(
        "{}, line {}: {}; say --csv-header yes if the line names the columns, --csv-header no if it is a "
        "sample",
        path_, sample_.lines[0], why);
  }

  // The column that the label has in a table without names; -1: none.
  int64_t unnamed_label() const {
    const std::string& wanted = options_.label_column;
    if (wanted == "none") return -1;
    if (wanted.empty()) return used_columns() - 1;
    Cell cell;
    cell.text = wanted;
    const std::optional<int64_t> n = whole(cell);
    if (!n) return -1;
    return *n < 0 ? *n + used_columns() : *n;
  }

  void decide_header(HeaderChoice choice) {
    if (choice != HeaderChoice::kAuto || !first_fits_) {
      table_.header = choice == HeaderChoice::kYes;
      return;
    }
    const Row& first = sample_.rows[0];
    // A column that is asked for by a name that the first line has: it names the columns.
    const std::string& wanted = options_.label_column;
    Cell cell;
    cell.text = wanted;
    if (!wanted.empty() && wanted != "none" && !whole(cell)) {
      table_.header =
          std::any_of(first.begin(), first.end(), [&](const Cell& c) { return c.text == wanted; });
      if (table_.header) return;
    }
    for (const std::string& name : options_.columns.named) {
      table_.header = std::any_of(first.begin(), first.end(),
                                  [&](const Cell& c) { return c.text == name && !is_number(c); });
      if (table_.header) return;
    }
    const int64_t label = unnamed_label();
    std::vector<size_t> features;
    size_t numbers = 0;
    for (size_t c = 0; c < static_cast<size_t>(used_columns()); ++c) {
      if (static_cast<int64_t>(c) == label) continue;
      features.push_back(c);
      numbers += is_number(first[c]) ? 1 : 0;
    }
    const bool label_is_text =
        label >= 0 && label < used_columns() && !is_number(first[static_cast<size_t>(label)]);
    if (numbers == 0) {
      table_.header = names_columns(first, features, label);
    } else if (numbers == features.size()) {
      check_numbers(first, features, label_is_text ? label : -1);
    }
    // Otherwise a line with a number in it is a sample, and what is no number in it an error.
  }

  // Whether a first line without a number among its features names the columns.
  bool names_columns(const Row& first, const std::vector<size_t>& features, int64_t label) const {
    const auto missing = [&](size_t c) { return is_missing_number(first[c].text); };
    if (std::all_of(features.begin(), features.end(), missing)) return false;
    if (label >= 0 && label < used_columns()) {
      const Cell& cell = first[static_cast<size_t>(label)];
      if (is_number(cell)) return false;
      // The name of a class stands in other lines, too. Without a number the whole line again is no sample,
      // but a header twice.
      const auto again = [&](const Row& row) {
        return std::equal(row.begin(), row.end(), first.begin(), first.end(),
                          [](const Cell& a, const Cell& b) { return a.text == b.text; });
      };
      for (size_t r = 1; r < sample_.rows.size(); ++r)
        if (sample_.rows[r].size() == sample_.columns && !cell.text.empty() &&
            sample_.rows[r][static_cast<size_t>(label)].text == cell.text && !again(sample_.rows[r]))
          return false;
    }
    for (size_t c = 1; c < static_cast<size_t>(used_columns()); ++c)
      if (first[c].text.empty())
        throw input_error(
            "{}, line {}, column {}: the cell is empty, but the others of the line are names; name the "
            "column, or say "
            "--csv-header no if the line is a sample",
            path_, sample_.lines[0], c + 1);
    return true;
  }

  // Stops where a first line whose features are all numbers may be names nevertheless: years, or the numbers
  // of the columns. `text_label`: the label's column where its first cell is text, else -1.
  void check_numbers(const Row& first, const std::vector<size_t>& features, int64_t text_label) const {
    std::vector<size_t> all;
    for (size_t c = 0; c < static_cast<size_t>(used_columns()); ++c) all.push_back(c);
    size_t others = 0;
    size_t label_numbers = 0;
    bool label_again = false;
    bool counting = false;      // another line's features count up, too
    bool all_counting = false;  // all cells of another line
    bool fractions = false;
    for (size_t r = 1; r < sample_.rows.size(); ++r) {
      const Row& row = sample_.rows[r];
      if (row.size() != sample_.columns) continue;
      ++others;
      counting = counting || counts_up(row, features);
      all_counting = all_counting || counts_up(row, all);
      for (const size_t c : features)
        fractions = fractions || form_of(row[c].text) == NumberForm::kPoint ||
                    form_of(row[c].text) == NumberForm::kComma;
      if (text_label < 0) continue;
      label_numbers += is_number(row[static_cast<size_t>(text_label)]) ? 1 : 0;
      label_again = label_again ||
                    row[static_cast<size_t>(text_label)].text == first[static_cast<size_t>(text_label)].text;
    }
    if (others == 0) return;
    if (text_label >= 0) {
      const Cell& label = first[static_cast<size_t>(text_label)];
      if (is_missing_name(label.text)) return;
      if (2 * label_numbers > others)
        undecided(fmt::format("it has numbers, but \"{}\" in column {}, where the other lines have numbers",
                              shown(label.text), text_label + 1));
      if (label_numbers == 0 && !label_again &&
          (names_a_label(label.text) || (counts_up(first, features) && !counting)))
        undecided(fmt::format(
            "its numbers may be names of columns, as \"{}\" in column {} is no class of another line",
            shown(label.text), text_label + 1));
      return;
    }
    if (!counts_up(first, all) || all_counting) return;
    const int64_t from = *whole(first[0]);
    const bool numbered = (from == 0 || from == 1) && (all.size() >= 4 || (all.size() == 3 && fractions));
    const bool years = from >= 1900 && from <= 2100 && all.size() >= 3;
    if (numbered || years)
      undecided(fmt::format("its numbers count up from {}, as the names of columns do", from));
  }

  void name_columns() {
    for (const Cell& cell : sample_.rows[0]) table_.names.push_back(cell.text);
  }

  // A first column without a name that counts the lines, as pandas and R write it.
  void find_row_numbers() {
    if (!table_.header || used_columns() < 3 || !has_no_name(sample_.rows[0][0])) return;
    std::optional<int64_t> expected;
    for (size_t r = 1; r < sample_.rows.size(); ++r) {
      const Row& row = sample_.rows[r];
      const std::optional<int64_t> n = whole(row[0]);
      if (!n || (expected && *n != *expected) || (!expected && *n != 0 && *n != 1)) {
        if (!sample_.rows[0][0].text.empty()) return;  // a name all the same
        throw input_error("{}, line {}, column 1: the column has no name; name it, or remove it", path_,
                          sample_.lines[0]);
      }
      if (!expected) table_.first_row_number = *n;
      expected = *n + 1;
    }
    if (expected) table_.row_numbers = 0;
  }

  // ---- the label
  void find_label() {
    const std::string& wanted = options_.label_column;
    if (wanted == "none") return;
    if (wanted.empty()) {
      table_.label = used_columns() - 1;
      check_default_label();
      return;
    }
    std::vector<int64_t> named;
    for (size_t c = 0; c < table_.names.size(); ++c)
      if (table_.names[c] == wanted) named.push_back(static_cast<int64_t>(c));
    Cell cell;
    cell.text = wanted;
    std::optional<int64_t> number = whole(cell);
    if (number && *number < 0) *number += used_columns();
    if (named.size() > 1)
      throw input_error(
          "{}: {} columns are called {}; say which by its number, counted from 0: the first is "
          "--label-column {}",
          path_, named.size(), shown(wanted), named[0]);
    if (!named.empty() && number && *number != named[0] && *number >= 0 && *number < used_columns())
      throw usage_error(
          "{}: --label-column {} is the name of one column and, counted from 0, the number of another; say "
          "--label-column={} for the column of that name or --label-column={} for that of that number "
          "(negative numbers "
          "count from the end)",
          path_, wanted, named[0] - used_columns(), *number - used_columns());
    if (!named.empty()) {
      table_.label = named[0];
    } else if (!number) {
      throw input_error("{}: --label-column {}: no column is called that; {}", path_, shown(wanted),
                        table_.header
                            ? "the first line is " + listed_names()
                            : std::string("its first line is a sample and names none (--csv-header)"));
    } else if (*number < 0 || *number >= used_columns()) {
      throw input_error(
          "{}: --label-column {}: the table has {} columns, counted from 0: 0 to {} (-1 is the last)", path_,
          wanted, used_columns(), used_columns() - 1);
    } else {
      table_.label = *number;
    }
    if (table_.label == table_.row_numbers) table_.row_numbers = -1;
  }

  // The last column is the label unless the header calls another one so.
  void check_default_label() const {
    if (!table_.header || names_a_label(table_.names[static_cast<size_t>(table_.label)])) return;
    for (int64_t c = 0; c < table_.label; ++c) {
      const std::string& name = table_.names[static_cast<size_t>(c)];
      if (!names_a_label(name)) continue;
      throw input_error(
          "{}: column {} is called {}, but the label is taken from the last column, {}, unless "
          "--label-column says "
          "otherwise; say --label-column {} or --label-column {} (counted from 0)",
          path_, c + 1, shown(name), shown(table_.names[static_cast<size_t>(table_.label)]), c, table_.label);
    }
  }

  // ---- what is said
  std::string listed_names() const {
    constexpr size_t kMost = 10;
    std::string text;
    for (size_t i = 0; i < table_.names.size() && i < kMost; ++i)
      text += (i == 0 ? "" : ", ") + shown(table_.names[i]);
    return table_.names.size() > kMost ? text + fmt::format(", ... ({} columns)", table_.names.size()) : text;
  }

  void say() {
    for (const Delimiter& d : kDelimiters)
      if (d.mark == table_.delimiter) table_.said = d.spoken;
    if (table_.decimal == ',') table_.said += ", decimal comma";
    table_.said += table_.header
                       ? fmt::format("; line {} is the header: {}", sample_.lines[0], listed_names())
                       : std::string("; no header, the first line is a sample");
    if (table_.label >= 0) {
      table_.said += "; label: " + column_of(table_, table_.label);
    }
    if (table_.row_numbers >= 0) table_.said += "; column 1 has no name and counts the lines: left out";
    if (table_.trailing_delimiter) table_.said += "; a delimiter ends each line";
    std::set<std::string> seen;
    for (const std::string& name : table_.names)
      if (!seen.insert(name).second) {
        table_.said += fmt::format("; several columns are called {}", shown(name));
        break;
      }
  }

  std::string_view text_;
  const std::string& path_;
  const OpenOptions& options_;
  LineStart sample_;
  bool first_fits_ = true;
  TableFormat table_;
};

}  // namespace

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

namespace {

// A first line sep=; is a mark of Excel's for the delimiter.
void refuse_delimiter_mark(std::string_view text, const std::string& path) {
  std::string line(text.substr(0, text.find('\n')));
  if (line.ends_with('\r')) line.pop_back();
  const std::string_view quoted = line;
  const bool quotes = quoted.size() > 1 && quoted.front() == '"' && quoted.back() == '"';
  const std::string mark = lower_case(line.substr(quotes ? 1 : 0, quotes ? line.size() - 2 : line.size()));
  if (!mark.starts_with("sep=") || mark.size() > 5) return;
  const auto known = std::find_if(kDelimiters.begin(), kDelimiters.end(),
                                  [&](const Delimiter& d) { return mark.size() == 5 && d.mark == mark[4]; });
  throw input_error(
      "{}, line 1: \"{}\" names the delimiter for Excel and is no line of the table: remove it{}", path,
      shown(line),
      known == kDelimiters.end() ? "" : fmt::format(", and give --csv-delimiter {}", known->name));
}

}  // namespace

TableFormat recognise_table(std::string_view text, const std::string& path, const OpenOptions& options) {
  refuse_delimiter_mark(text, path);
  return Recogniser(text, path, options).run();
}

}  // namespace halftone::data
