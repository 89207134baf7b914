#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "data/geometry.h"
#include "data/labels.h"
#include "data/number.h"
#include "data/table.h"
#include "data/text.h"
#include "halftone/printable.h"

namespace halftone::data {
namespace {

constexpr int64_t kMostClasses = 1000;

class Csv final : public Dataset {
 public:
  Csv(const std::string& path, const DataOptions& options) : path_(path) {
    info_.kind = "CSV";
    info_.source = path;
    read_table(text_of(read_file(path), path), options);
    if (lines_.empty())
      throw input_error(
          "{}: it holds no samples: its only line with cells is taken as the header (--csv-header no)", path);
    resolve_value_shape({features_}, options, path, info_);
    set_labels(options);
  }

  int64_t size() const override { return static_cast<int64_t>(lines_.size()); }
  std::string name(int64_t index) const override {
    return fmt::format("{}, line {}", path_, lines_[static_cast<size_t>(index)]);
  }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    const auto bad = bad_.find(index);
    if (bad != bad_.end()) throw Error(ErrorKind::kInput, bad->second);
    labels_.get(index, sample);
    if (labels_.kind == LabelKind::kClass && sample.label < 0 && !info_.reading.ignored)
      throw input_error("{}: its label is out of range; there are {} classes", name(index), info_.classes);
    const auto first = values_.begin() + static_cast<std::ptrdiff_t>(index * features_);
    sample.values.assign(first, first + static_cast<std::ptrdiff_t>(features_));
  }

 private:
  void read_table(const std::string& text, const DataOptions& options) {
    table_ = recognise_table(text, path_, options);
    features_ = table_.features();
    Records records(text, table_.delimiter);
    Record record;
    bool header = table_.header;
    while (records.next(record)) {
      if (record.fatal) throw Error(ErrorKind::kInput, wrong_with(record));
      if (!header) add_record(record, options.skip_bad);
      header = false;
    }
    info_.notes.push_back(table_.said);
    check_comments(records);
    if (records.comments() > 0)
      info_.notes.push_back(fmt::format("{} lines that begin with # are comments", records.comments()));
  }

  // Where the first column is text, a line that begins with # may be a sample.
  void check_comments(const Records& records) const {
    const int64_t line = records.comment_like(static_cast<size_t>(table_.columns));
    if (table_.label != 0 || line == 0 || texts_.empty()) return;
    double ignored = 0;
    if (read_number(texts_.front(), table_.decimal, ignored)) return;
    throw input_error(
        "{}, line {}: it begins with #: a comment, or a label? Put quotes around the label, or remove the "
        "line",
        path_, line);
  }

  std::string at(int64_t line, int64_t column) const {
    return fmt::format("{}, {}", path_, place_of(table_, line, column));
  }
  // A sample's label.
  std::string label_at(int64_t index) const { return at(lines_[static_cast<size_t>(index)], table_.label); }

  // What keeps a record from being a sample; empty: nothing.
  std::string wrong_with(const Record& record) const {
    if (!record.wrong.empty())
      return fmt::format("{}: {}", at(record.wrong_line, static_cast<int64_t>(record.wrong_cell)),
                         record.wrong);
    const auto count = static_cast<int64_t>(record.count);
    if (count != table_.columns) {
      // The first cell that is missing or too many; where a delimiter ends each line, what it delimits is no cell.
      const bool ends = table_.trailing_delimiter &&
                        (count > table_.columns || record.cells[record.count - 1].text.empty());
      const int64_t column = std::max<int64_t>(0, std::min(count, table_.columns) - (ends ? 1 : 0));
      return fmt::format("{}: the line has {} cells, the table {} columns",
                         at(record.cells[static_cast<size_t>(std::min(column, count - 1))].line, column),
                         count, table_.columns);
    }
    if (table_.trailing_delimiter && !record.cells[record.count - 1].text.empty())
      return fmt::format("{}: \"{}\" in a column that is empty on the lines above",
                         at(record.cells[record.count - 1].line, count - 1),
                         shown(record.cells[record.count - 1].text));
    return {};
  }

  void add_record(const Record& record, bool skip_bad) {
    std::string bad = wrong_with(record);
    const auto row = static_cast<int64_t>(lines_.size());
    if (row % 1024 == 0) check_stop();
    const size_t begin = values_.size();
    for (int64_t i = 0; bad.empty() && i < table_.columns; ++i) {
      const Cell& cell = record.cells[static_cast<size_t>(i)];
      double value = 0;
      if (i == table_.row_numbers && cell.text != std::to_string(table_.first_row_number + row)) {
        bad = fmt::format(
            "{}: \"{}\", but the column has no name and counted the lines so far; name it, or remove it",
            at(cell.line, i), shown(cell.text));
      } else if (table_.is_feature(i)) {
        if (read_number(cell.text, table_.decimal, value)) {
          values_.push_back(static_cast<float>(value));
        } else {
          bad = fmt::format("{}: {}{}", at(cell.line, i), why_no_number(cell.text, table_.decimal),
                            of_first_line(row));
        }
      } else if (i == table_.label && (cell.quoted ? cell.text.empty() : is_missing_name(cell.text))) {
        bad = fmt::format(
            "{}: the label is missing{}{}", at(cell.line, i),
            cell.text.empty() ? "" : fmt::format(" (\"{}\"; in quotes it is a name)", shown(cell.text)),
            of_first_line(row));
      }
    }
    if (!bad.empty() && is_header_again(record))
      bad = fmt::format("{}, line {}: it has the names of the columns again; remove the line", path_, record.line);
    if (!bad.empty()) {
      if (!skip_bad) throw Error(ErrorKind::kInput, bad);
      bad_.emplace(row, bad);
      values_.resize(begin + static_cast<size_t>(features_), 0.0F);
    }
    lines_.push_back(record.line);
    if (table_.label >= 0)
      texts_.push_back(bad.empty() ? record.cells[static_cast<size_t>(table_.label)].text : std::string());
  }

  bool is_header_again(const Record& record) const {
    const auto end = record.cells.begin() + static_cast<std::ptrdiff_t>(record.count);
    return table_.header && std::equal(record.cells.begin(), end, table_.names.begin(), table_.names.end(),
                                       [](const Cell& cell, const std::string& name) { return cell.text == name; });
  }

  // The first line may have been meant as something else.
  std::string of_first_line(int64_t row) const {
    if (row > 0) return {};
    return table_.header ? ""
                         : " (the first line is taken as a sample; --csv-header yes if it names the columns)";
  }

  // The label as a number.
  bool label_number(size_t index, double& value) const {
    return read_number(texts_[index], table_.decimal, value);
  }

  // Where most labels are numbers, the others are errors, no names.
  void check_mixed_labels(bool skip_bad) {
    int64_t numbers = 0;
    std::vector<size_t> others;
    double ignored = 0;
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (bad_.contains(static_cast<int64_t>(i))) continue;
      if (label_number(i, ignored)) {
        ++numbers;
      } else {
        others.push_back(i);
      }
    }
    if (static_cast<int64_t>(others.size()) >= numbers) return;
    for (const size_t i : others) {
      const auto index = static_cast<int64_t>(i);
      const std::string why = fmt::format("{}: {}, but most labels are numbers{}", label_at(index),
                                          why_no_number(texts_[i], table_.decimal), of_first_line(index));
      if (!skip_bad) throw Error(ErrorKind::kInput, why);
      bad_.emplace(index, why);
    }
  }

  void set_labels(const DataOptions& options) {
    if (table_.label < 0) {
      if (options.labels == LabelChoice::kClass || options.labels == LabelChoice::kTarget)
        throw input_error("{}: labels are wanted, but the label column is \"none\"", path_);
      return;
    }
    RawLabels raw;
    raw.where = fmt::format("{}, {}", path_, column_of(table_, table_.label));
    const bool known = all_known(options.class_map.names);
    if (!known) check_mixed_labels(options.skip_bad);
    raw.bad = bad_;
    std::vector<double> values(texts_.size());
    bool numbers = true;
    for (size_t i = 0; i < texts_.size(); ++i)
      if (!raw.bad.contains(static_cast<int64_t>(i)) && !label_number(i, values[i])) numbers = false;
    if (known || !numbers) {
      set_names(raw, options);
    } else {
      set_numbers(raw, values);
    }
    labels_ = resolve_labels(
        std::move(raw), options, [this](int64_t i) { return label_at(i); }, info_);
    texts_.clear();
  }

  // Whether a class map has every label: then numbers are names too.
  bool all_known(const std::vector<std::string>& names) const {
    if (names.empty()) return false;
    const std::set<std::string> set(names.begin(), names.end());
    for (size_t i = 0; i < texts_.size(); ++i)
      if (!bad_.contains(static_cast<int64_t>(i)) && !set.contains(texts_[i])) return false;
    return true;
  }

  // From there on a double no longer counts in ones.
  static constexpr double kMostWhole = 0x1p53;

  static void set_numbers(RawLabels& raw, const std::vector<double>& values) {
    raw.kind = LabelForm::Kind::kText;
    const bool whole = std::all_of(values.begin(), values.end(),
                                   [](double v) { return v == std::floor(v) && std::fabs(v) < kMostWhole; });
    if (whole) {
      raw.integers.assign(values.begin(), values.end());
    } else {
      raw.floats.assign(values.begin(), values.end());
    }
  }

  void set_names(RawLabels& raw, const DataOptions& options) {
    raw.kind = LabelForm::Kind::kNames;
    std::set<std::string> names;
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (raw.bad.contains(static_cast<int64_t>(i))) continue;
      if (!is_utf8(texts_[i]))
        throw input_error("{}: the label \"{}\" is not UTF-8; save the table as UTF-8",
                          label_at(static_cast<int64_t>(i)), shown(texts_[i]));
      names.insert(texts_[i]);
    }
    // Text in a column of numbers is more likely an error than a million classes.
    if (static_cast<int64_t>(names.size()) > kMostClasses && options.labels == LabelChoice::kAuto &&
        options.class_map.empty())
      throw input_error(
          "{}: the label column holds {} different texts; which column is the label (--label-column)?", path_,
          names.size());
    raw.names.assign(names.begin(), names.end());
    for (size_t i = 0; i < texts_.size(); ++i)
      raw.name_of.push_back(
          raw.bad.contains(static_cast<int64_t>(i))
              ? -1
              : static_cast<int32_t>(std::distance(
                    raw.names.begin(), std::lower_bound(raw.names.begin(), raw.names.end(), texts_[i]))));
  }

  std::string path_;
  TableFormat table_;
  int64_t features_ = 0;
  std::vector<float> values_;           // features_ a sample
  std::vector<int64_t> lines_;          // each sample's line
  std::vector<std::string> texts_;      // labels, until they are understood
  std::map<int64_t, std::string> bad_;  // with skip_bad: what is wrong with a sample
  Labels labels_;
};

}  // namespace

bool is_csv_file(const std::string& path) {
  const size_t dot = path.rfind('.');
  const std::string ending = dot == std::string::npos ? "" : lower_case(path.substr(dot));
  return ending == ".csv" || ending == ".tsv";
}

std::unique_ptr<Dataset> open_csv(const Spec& spec, const DataOptions& options) {
  if (!spec.split.empty())
    throw input_error("{} is one file, so there is no [{}] in it", spec.path, spec.split);
  return std::make_unique<Csv>(spec.path, options);
}

}  // namespace halftone::data
