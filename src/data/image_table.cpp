#include "data/image_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "data/delimited.h"
#include "data/folder.h"
#include "data/image_files.h"
#include "data/labels.h"
#include "data/names.h"
#include "data/table_marks.h"
#include "data/text.h"
#include "data/text_labels.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

struct ImageColumns {
  char delimiter = ',';
  bool header = false;
  std::vector<std::string> names;  // of the header
  size_t columns = 0;
  size_t file = 0;  // the column of paths
};

std::optional<size_t> image_column(const Record& record) {
  for (size_t c = 0; c < record.count; ++c)
    if (has_image_name(record.cells[c].text)) return c;
  return std::nullopt;
}

// By the first two lines: one of samples, or a header and one of samples.
std::optional<ImageColumns> find_image_columns(std::string_view text, const OpenOptions& options) {
  std::string delimiters = ",;\t|";
  if (const auto asked = asked_delimiter(options.csv_delimiter)) delimiters = std::string(1, *asked);
  for (const char delimiter : delimiters) {
    Records records(text, delimiter);
    Record first, second;
    if (!records.next(first) || first.fatal) continue;
    const bool two = records.next(second) && !second.fatal;
    ImageColumns found;
    found.delimiter = delimiter;
    found.columns = first.count;
    if (const auto file = image_column(first); file && options.csv_header != "yes") {
      // A path with a delimiter of another kind in it is no table of one column.
      if (first.count < 2 && options.labels) continue;
      found.file = *file;
      return found;
    }
    if (!two || second.count != first.count || (second.count < 2 && options.labels)) continue;
    const auto file = image_column(second);
    if (!file || options.csv_header == "no") continue;
    found.file = *file;
    found.header = true;
    for (size_t c = 0; c < first.count; ++c) found.names.push_back(first.cells[c].text);
    return found;
  }
  return std::nullopt;
}

// Whether an option makes something else of the column of names.
bool is_taken(const ImageColumns& found, const std::string& path, const OpenOptions& options) {
  const ColumnOptions& c = options.columns;
  const std::pair<const char*, const std::vector<std::string>*> lists[] = {
      {"--exclude-columns", &c.exclude}, {"--one-hot", &c.one_hot}, {"--codes", &c.codes}};
  for (const auto& [option, list] : lists)
    for (const std::string& text : *list) {
      const std::vector<size_t> columns = columns_in(text, found.names, found.columns, option, path);
      if (std::find(columns.begin(), columns.end(), found.file) != columns.end()) return true;
    }
  return false;
}

class ImageTable final : public Dataset {
 public:
  ImageTable(const std::string& path, const OpenOptions& options) : path_(path) {
    info_.source = path;
    info_.kind = kTableOfImages;
    text_ = text_of(read_file(path), path);
    const auto columns = find_image_columns(text_, options);
    if (!columns) throw input_error("{}: no column has the names of images", path);
    columns_ = *columns;
    if (options.labels) choose_labels(options);
    read_lines(options);
    text_ = {};
    if (lines_.empty()) throw input_error("{}: it names no image", path);
    images_.open(
        size(), [this](int64_t i) { return file_of(i); }, options, info_);
    if (options.labels) set_labels(options);
  }

  int64_t size() const override { return static_cast<int64_t>(lines_.size()); }
  std::string name(int64_t index) const override { return images_.path(index); }
  std::optional<int32_t> class_of(int64_t index) const override { return labels_.class_of(index); }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    if (const auto bad = bad_.find(index); bad != bad_.end()) throw Error(ErrorKind::kInput, bad->second);
    images_.read(index, sample);
    labels_.get(index, sample);
  }

 private:
  std::string file_of(int64_t index) const {
    const fs::path file(files_[static_cast<size_t>(index)]);
    return file.is_absolute() ? file.string() : (fs::path(path_).parent_path() / file).string();
  }
  std::string place(int64_t index, size_t column) const {
    return fmt::format("{}, line {}, column {}", path_, lines_[static_cast<size_t>(index)],
                       column_name(column));
  }
  std::string column_name(size_t column) const {
    return columns_.header ? fmt::format("{} ({})", column + 1, shown(columns_.names[column]))
                           : std::to_string(column + 1);
  }
  std::string label_name(size_t column) const {
    return columns_.header ? columns_.names[column] : fmt::format("#{}", column);
  }

  // Those that an option names, but for the files' own; else all others.
  void choose_labels(const OpenOptions& options) {
    std::vector<size_t> excluded{columns_.file};
    for (const std::string& list : options.columns.exclude) {
      const auto more = columns_in(list, columns_.names, columns_.columns, "--exclude-columns", path_);
      excluded.insert(excluded.end(), more.begin(), more.end());
    }
    const auto in = [&](size_t c) {
      return std::find(excluded.begin(), excluded.end(), c) != excluded.end();
    };
    const ColumnPlan& kept = options.columns.kept;
    if (!kept.labels.empty() && options.label_separator.empty()) {
      // Those of the training data, by their names.
      if (kept.labels.size() > 1 && columns_.columns == 2)
        throw input_error(
            "{}: {} has the labels {}, and this table one column of them: give --label-separator", path_,
            kept.source, some_of(kept.labels));
      for (const std::string& name : kept.labels)
        label_columns_.push_back(kept_column(name, columns_.names, columns_.columns, kept.source, path_));
    } else if (!options.label_column.empty()) {
      label_columns_ =
          columns_in(options.label_column, columns_.names, columns_.columns, "--label-column", path_);
      for (const size_t c : label_columns_)
        if (c == columns_.file)
          throw usage_error("--label-column {}: column {} of {} has the names of the images",
                            options.label_column, column_name(c), path_);
    } else {
      for (size_t c = 0; c < columns_.columns; ++c)
        if (!in(c) && !(columns_.header && columns_.names[c].empty()))
          label_columns_.push_back(c);  // a count of lines
    }
    if (label_columns_.empty()) throw input_error("{}: no column is left for the labels", path_);
    if (label_columns_.size() > 1 && !options.label_separator.empty())
      throw usage_error(
          "--label-separator {}: {} has {} columns of labels; expected one, --label-column names it",
          options.label_separator, path_, label_columns_.size());
  }

  void read_lines(const OpenOptions& options) {
    Records records(text_, columns_.delimiter);
    Record record;
    bool header = columns_.header;
    while (records.next(record)) {
      if (record.fatal) throw input_error("{}, line {}: {}", path_, record.wrong_line, record.wrong);
      if (!header) add_line(record, options);
      header = false;
    }
    std::string labels;
    for (const size_t c : label_columns_) labels += (labels.empty() ? "" : ", ") + column_name(c);
    info_.notes.push_back(fmt::format("the images are named in column {}{}{}", column_name(columns_.file),
                                      labels.empty()               ? ""
                                      : label_columns_.size() == 1 ? ", their labels are in column "
                                                                   : ", their labels are the columns ",
                                      labels));
    if (records.comments() > 0)
      info_.notes.push_back(fmt::format("{} lines that begin with # are comments", records.comments()));
  }

  void add_line(const Record& record, const OpenOptions& options) {
    const auto row = static_cast<int64_t>(lines_.size());
    if (row % 1024 == 0) check_stop();
    lines_.push_back(record.line);
    std::string bad;
    if (!record.wrong.empty()) {
      bad = fmt::format("{}, line {}: {}", path_, record.wrong_line, record.wrong);
    } else if (record.count != columns_.columns) {
      bad = fmt::format("{}, line {}: {} cells, and not {}", path_, record.line, record.count,
                        columns_.columns);
    } else if (!has_image_name(record.cells[columns_.file].text)) {
      bad = fmt::format("{}: \"{}\" is no image by its name; expected {}", place(row, columns_.file),
                        shown(record.cells[columns_.file].text), image_kinds());
    }
    files_.push_back(bad.empty() ? record.cells[columns_.file].text : "");
    if (!bad.empty()) note_bad(row, bad, options);
    if (!options.labels) return;
    if (label_columns_.size() > 1) {
      add_numbers(record, row, bad.empty(), options);
    } else {
      cells_.push_back(bad.empty() ? record.cells[label_columns_[0]].text : "");
    }
  }

  void add_numbers(const Record& record, int64_t row, bool good, const OpenOptions& options) {
    for (const size_t c : label_columns_) {
      const std::string cell = good ? record.cells[c].text : "0";
      const bool one = cell == "1" || cell == "1.0", zero = cell == "0" || cell == "0.0";
      if (!one && !zero) {
        note_bad(
            row,
            fmt::format(
                "{}: \"{}\"; expected 0 or 1, whether the label applies (--label-column names the labels' "
                "columns, --exclude-columns others)",
                place(row, c), shown(cell)),
            options);
        good = false;
      }
      numbers_.push_back(one ? 1 : 0);
    }
  }

  void note_bad(int64_t row, const std::string& why, const OpenOptions& options) {
    if (!options.skip_bad) throw Error(ErrorKind::kInput, why);
    bad_.emplace(row, why);
  }

  // Takes the cells apart: the labels' names in the order of classes, and whether each applies.
  void separate(const OpenOptions& options, RawLabels& raw) {
    const std::string separator = options.label_separator == "space" ? " " : options.label_separator;
    std::vector<std::vector<std::string>> of_sample;
    std::map<std::string, size_t> known;
    for (const std::string& cell : cells_) {
      std::vector<std::string> labels;
      for (size_t begin = 0; begin <= cell.size();) {
        const size_t end = std::min(cell.find(separator, begin), cell.size());
        const std::string_view label = trimmed(std::string_view(cell).substr(begin, end - begin));
        if (!label.empty()) labels.emplace_back(label);
        begin = end + separator.size();
      }
      for (const std::string& label : labels) known.emplace(label, 0);
      of_sample.push_back(std::move(labels));
    }
    std::vector<std::string> order = options.columns.kept.labels;
    const bool measured = order.empty();
    if (measured) {
      for (const auto& [label, unused] : known) order.push_back(label);
      order = in_class_order(order);
    }
    for (size_t i = 0; i < order.size(); ++i) {
      const auto it = known.find(order[i]);
      if (it != known.end()) it->second = i + 1;
    }
    raw.width = static_cast<int64_t>(order.size());
    raw.integers.assign(of_sample.size() * order.size(), 0);
    for (size_t s = 0; s < of_sample.size(); ++s)
      for (const std::string& label : of_sample[s]) {
        const size_t number = known.at(label);
        if (number == 0) {
          note_bad(static_cast<int64_t>(s),
                   fmt::format("{}: unknown label {}; {} has {}",
                               place(static_cast<int64_t>(s), label_columns_[0]), shown(label),
                               options.columns.kept.source, some_of(order)),
                   options);
          continue;
        }
        raw.integers[s * order.size() + number - 1] = 1;
      }
    if (order.size() < 2)
      throw input_error("{}: {} label{} by the separator \"{}\"; expected two or more", path_, order.size(),
                        order.size() == 1 ? "" : "s", separator);
    info_.columns.labels = std::move(order);
  }

  void set_labels(const OpenOptions& options) {
    const auto where = [this](int64_t i) { return place(i, label_columns_[0]); };
    const std::string column = fmt::format("{}, column {}", path_, column_name(label_columns_[0]));
    if (label_columns_.size() == 1 && options.label_separator.empty()) {
      TextLabels labels{.where = column,
                        .path = path_,
                        .cells = std::move(cells_),
                        .place = where,
                        .of_first_sample = "",
                        .bad = bad_};
      labels_ = resolve_labels(raw_labels(std::move(labels), options), options, where, info_);
      return;
    }
    RawLabels raw;
    raw.kind = LabelForm::Kind::kIntegers;
    raw.where = label_columns_.size() == 1 ? column : path_;
    raw.several_labels = true;
    if (label_columns_.size() > 1) {
      raw.width = static_cast<int64_t>(label_columns_.size());
      raw.integers = std::move(numbers_);
      for (const size_t c : label_columns_) info_.columns.labels.push_back(label_name(c));
    } else {
      separate(options, raw);
    }
    raw.bad = bad_;
    raw.shape = {raw.width};
    labels_ = resolve_labels(std::move(raw), options, where, info_);
    cells_.clear();
  }

  std::string path_;
  std::string text_;  // while it is read
  ImageColumns columns_;
  std::vector<size_t> label_columns_;
  std::vector<std::string> files_;
  std::vector<int64_t> lines_;
  std::vector<std::string> cells_;      // of the only label column
  std::vector<int64_t> numbers_;        // of several
  std::map<int64_t, std::string> bad_;  // with skip_bad: what is wrong with a sample
  ImageFiles images_;
  Labels labels_;
};

}  // namespace

bool names_images(const std::string& path, const OpenOptions& options) {
  constexpr int64_t kFirstBytes = int64_t{64} << 10;
  const InputFile file(path);
  std::string first(static_cast<size_t>(std::min(file.size(), kFirstBytes)), '\0');
  file.read(0, static_cast<int64_t>(first.size()), first.data());
  // A table is UTF-8, or UTF-16 with a mark; one that is neither is its reader's to refuse.
  const bool wide = first.starts_with("\xFF\xFE") || first.starts_with("\xFE\xFF");
  if (wide) first = read_file(path);
  try {
    const auto found = find_image_columns(wide ? text_of(std::move(first), path) : first, options);
    return found && !is_taken(*found, path, options);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kInput) throw;
    return false;
  }
}

std::unique_ptr<Dataset> open_image_table(const Spec& spec, const OpenOptions& options) {
  return std::make_unique<ImageTable>(spec.path, options);
}

}  // namespace halftone::data
