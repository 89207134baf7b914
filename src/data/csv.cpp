#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "data/column_table.h"
#include "data/geometry.h"
#include "data/image_table.h"
#include "data/labels.h"
#include "data/number.h"
#include "data/table.h"
#include "data/text.h"
#include "data/text_dataset.h"
#include "data/text_labels.h"

namespace halftone::data {
namespace {

class Csv final : public Dataset {
 public:
  Csv(const std::string& path, const OpenOptions& options) : path_(path) {
    info_.kind = "CSV";
    info_.source = path;
    read_table(text_of(read_file(path), path), options);
    if (lines_.empty())
      throw input_error(
          "{}: it holds no samples: its only line with cells is taken as the header (--csv-header no)", path);
    resolve_value_shape({features_}, options, path, info_);
    if (options.labels) set_labels(options);
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
  void read_table(const std::string& text, const OpenOptions& options) {
    table_ = recognise_table(text, path_, options);
    features_ = table_.features();
    for (size_t c = 0; c < table_.names.size(); ++c)
      if (table_.is_feature(static_cast<int64_t>(c))) info_.features.push_back(table_.names[c]);
    Records records(text, table_.delimiter);
    Record record;
    bool header = table_.header;
    while (records.next(record)) {
      if (record.fatal) throw Error(ErrorKind::kInput, what_is_wrong(table_, path_, record));
      if (!header) add_record(record, options);
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

  void add_record(const Record& record, const OpenOptions& options) {
    const bool labels = options.labels && table_.label >= 0;
    std::string bad = what_is_wrong(table_, path_, record);
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
          bad = fmt::format("{}: {}{}{}", at(cell.line, i), why_no_number(cell.text, table_.decimal),
                            advice_for_text(table_, i, cell.text), of_first_line(table_, row));
        }
      } else if (labels && i == table_.label &&
                 (cell.quoted ? cell.text.empty() : is_missing_name(cell.text))) {
        bad = fmt::format(
            "{}: the label is missing{}{}", at(cell.line, i),
            cell.text.empty() ? "" : fmt::format(" (\"{}\"; in quotes it is a name)", shown(cell.text)),
            of_first_line(table_, row));
      }
    }
    if (!bad.empty() && is_header_again(table_, record))
      bad = fmt::format("{}, line {}: it has the names of the columns again; remove the line", path_,
                        record.line);
    if (!bad.empty()) {
      if (!options.skip_bad) throw Error(ErrorKind::kInput, bad);
      bad_.emplace(row, bad);
      values_.resize(begin + static_cast<size_t>(features_), 0.0F);
    }
    lines_.push_back(record.line);
    if (labels)
      texts_.push_back(bad.empty() ? record.cells[static_cast<size_t>(table_.label)].text : std::string());
  }

  void set_labels(const OpenOptions& options) {
    if (table_.label < 0) return;
    const auto place = [this](int64_t i) { return label_at(i); };
    TextLabels labels{.where = fmt::format("{}, {}", path_, column_of(table_, table_.label)),
                      .path = path_,
                      .cells = std::move(texts_),
                      .decimal = table_.decimal,
                      .place = place,
                      .of_first_sample = of_first_line(table_, 0),
                      .bad = bad_};
    labels_ = resolve_labels(raw_labels(std::move(labels), options), options, place, info_);
    texts_.clear();
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

std::unique_ptr<Dataset> open_csv(const Spec& spec, const OpenOptions& options) {
  if (!spec.split.empty())
    throw input_error("{} is one file, so there is no [{}] in it", spec.path, spec.split);
  if (!options.text.columns.empty()) return open_text(spec, options);
  if (names_images(spec.path, options)) return open_image_table(spec, options);
  if (!options.label_separator.empty())
    throw usage_error("--label-separator {}: {} has no column of the names of images",
                      options.label_separator, spec.path);
  if (options.choose_columns) return open_columns(spec, options);
  return std::make_unique<Csv>(spec.path, options);
}

}  // namespace halftone::data
