#include "data/table_marks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "data/number.h"
#include "data/text.h"

namespace halftone::data {
namespace {

// The records that decide: enough that a few odd ones don't, few enough to be held.
constexpr size_t kSampleRecords = 1000;
constexpr size_t kSampleCells = 200'000;

}  // namespace

bool is_number(const Cell& cell) {
  const NumberForm form = form_of(cell.text);
  return form != NumberForm::kNone;
}

std::optional<char> asked_delimiter(const std::string& text) {
  if (text == "auto" || text.empty()) return std::nullopt;
  for (const Delimiter& d : kDelimiters)
    if (text == d.name || text == std::string(1, d.mark)) return d.mark;
  throw usage_error("--csv-delimiter {} is not known; it is auto, comma, semicolon, tab or pipe",
                    shown(text));
}

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

std::optional<char> asked_decimal(const std::string& text) {
  if (text == "auto" || text.empty()) return std::nullopt;
  if (text == "point") return '.';
  if (text == "comma") return ',';
  throw usage_error("--csv-decimal {} is not known; it is auto, point or comma", shown(text));
}

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

}  // namespace halftone::data
