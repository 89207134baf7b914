#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>

#include "base/error.h"
#include "data/number.h"
#include "data/table.h"
#include "data/table_marks.h"
#include "data/text.h"

namespace halftone::data {
namespace {

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
    if (used_columns() < 2 && options_.label_column != "none" && options_.labels)
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
    if (wanted.empty()) return options_.labels ? used_columns() - 1 : -1;
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
    if (!options_.labels && leaves_no_label_out()) return;
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

  // Without labels a table may have a column for them or not: the one that is named, or, where it has one column
  // more than the network takes, the one that the header calls a label. What is found is left to find_label();
  // `label` stays -1 where there is none.
  bool leaves_no_label_out() {
    const std::string& wanted = options_.label_column;
    if (!wanted.empty()) {
      Cell cell;
      cell.text = wanted;
      if (whole(cell) || std::find(table_.names.begin(), table_.names.end(), wanted) != table_.names.end())
        return false;
      no_label_ =
          fmt::format("; no column is called {} (--label-column), so none is left out", shown(wanted));
      return true;
    }
    const Shape& sample = options_.sample_shape;
    const bool known = !sample.empty() && *std::min_element(sample.begin(), sample.end()) > 0;
    const int64_t columns = used_columns() - (table_.row_numbers >= 0 ? 1 : 0);
    if (!known || columns != elements(sample) + 1) return true;
    std::vector<int64_t> labels;
    for (size_t c = 0; c < table_.names.size(); ++c)
      if (names_a_label(table_.names[c])) labels.push_back(static_cast<int64_t>(c));
    if (labels.size() != 1)
      throw input_error(
          "{}: it has {} columns, one more than the network takes, and {}; --label-column NAME leaves it out",
          path_, columns,
          labels.empty() ? "none is called label, class, target or the like" : "several are called so");
    table_.label = labels[0];
    return true;
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
      table_.said +=
          (options_.labels ? "; label: " : "; left out as the label: ") + column_of(table_, table_.label);
    }
    table_.said += no_label_;
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
  std::string no_label_;  // said where a column is not there that labels would be in
  bool first_fits_ = true;
  TableFormat table_;
};

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
