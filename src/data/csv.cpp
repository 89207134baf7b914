#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/geometry.h"
#include "data/labels.h"

namespace halftone::data {
namespace {

constexpr int64_t kMostClasses = 1000;

std::string trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return std::string(text);
}

// A finite number, spaces around it aside.
bool parse_number(std::string_view text, double& value) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const auto [p, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && p == text.data() + text.size() && std::isfinite(value) &&
         std::isfinite(static_cast<float>(value));
}

// Lines of a text, without their ends; a quoted line break does not end one.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }
  // The next line that is neither empty nor a comment.
  bool next(std::string_view& line) {
    while (!text_.empty()) {
      size_t end = 0;
      bool quoted = false;
      number_ = next_number_++;
      for (; end < text_.size() && (quoted || text_[end] != '\n'); ++end) {
        if (text_[end] == '"') quoted = !quoted;
        if (text_[end] == '\n') ++next_number_;
      }
      line = text_.substr(0, end);
      text_.remove_prefix(std::min(end + 1, text_.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.empty() && line.front() != '#') return true;
    }
    return false;
  }
  int64_t number() const { return number_; }

 private:
  std::string_view text_;
  int64_t number_ = 0;
  int64_t next_number_ = 1;
};

// The fields of a line; quotes removed, doubled ones made one.
void split(std::string_view line, char separator, std::vector<std::string>& fields) {
  fields.clear();
  fields.emplace_back();
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += c;
        ++i;
      } else {
        quoted = !quoted;
      }
    } else if (c == separator && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
}

class Csv final : public Dataset {
 public:
  Csv(const std::string& path, const DataOptions& options) : path_(path) {
    info_.kind = "CSV";
    info_.source = path;
    read_table(read_file(path), options);
    if (lines_.empty()) throw input_error("{}: it holds no samples", path);
    set_labels(options);
    resolve_value_shape({features_}, options.sample_shape, path, info_);
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
    if (labels_.kind == LabelKind::kClass && sample.label < 0)
      throw input_error("{}: its label is out of range; there are {} classes", name(index), info_.classes);
    const auto first = values_.begin() + static_cast<std::ptrdiff_t>(index * features_);
    sample.values.assign(first, first + static_cast<std::ptrdiff_t>(features_));
  }

 private:
  // The label's column of `columns`, or -1 for none.
  int64_t find_label(const std::string& wanted, const std::vector<std::string>& header,
                     int64_t columns) const {
    if (wanted == "none") return -1;
    if (wanted.empty()) return columns - 1;
    const auto named = std::find(header.begin(), header.end(), wanted);
    if (named != header.end()) return named - header.begin();
    int64_t n = 0;
    const auto [p, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), n);
    if (error != std::errc() || p != wanted.data() + wanted.size())
      throw input_error("{}: no column is called {}; the first line is {}", path_, wanted,
                        fmt::format("{}", fmt::join(header, ", ")));
    if (n < -columns || n >= columns)
      throw input_error("{}: there is no column {}; it has {}, counted from 0", path_, n, columns);
    return n < 0 ? n + columns : n;
  }

  void read_table(const std::string& text, const DataOptions& options) {
    Lines lines(text);
    std::string_view line;
    std::vector<std::string> fields;
    bool first = true;
    char separator = ',';
    int64_t columns = 0;
    while (lines.next(line)) {
      if (first) {
        separator = line.find('\t') != std::string_view::npos  ? '\t'
                    : line.find(';') != std::string_view::npos ? ';'
                                                               : ',';
        split(line, separator, fields);
        first = false;
        columns = static_cast<int64_t>(fields.size());
        const bool wanted = options.labels != LabelChoice::kNone;
        label_ = find_label(wanted ? options.label_column : "none", fields, columns);
        features_ = columns - (label_ >= 0 ? 1 : 0);
        if (features_ < 1)
          throw input_error(
              "{}, line {}: expected numbers separated by commas, semicolons or tabs, and a label", path_,
              lines.number());
        if (is_header(fields)) continue;
      } else {
        split(line, separator, fields);
      }
      add_line(fields, columns, lines.number(), options.skip_bad);
    }
  }

  bool is_header(const std::vector<std::string>& fields) const {
    double ignored = 0;
    for (size_t i = 0; i < fields.size(); ++i)
      if (static_cast<int64_t>(i) != label_ && !parse_number(fields[i], ignored)) return true;
    return false;
  }

  void add_line(const std::vector<std::string>& fields, int64_t columns, int64_t number, bool skip_bad) {
    std::string bad;
    if (static_cast<int64_t>(fields.size()) != columns)
      bad = fmt::format("{}, line {}: it has {} fields, but the first line has {}", path_, number,
                        fields.size(), columns);
    const size_t begin = values_.size();
    for (size_t i = 0; bad.empty() && i < fields.size(); ++i) {
      if (static_cast<int64_t>(i) == label_) continue;
      double value = 0;
      if (!parse_number(fields[i], value))
        bad = fmt::format("{}, line {}, column {}: \"{}\" is not a finite number", path_, number, i,
                          fields[i].substr(0, 40));
      values_.push_back(static_cast<float>(value));
    }
    if (!bad.empty()) {
      if (!skip_bad) throw Error(ErrorKind::kInput, bad);
      bad_.emplace(static_cast<int64_t>(lines_.size()), bad);
      values_.resize(begin + static_cast<size_t>(features_), 0.0F);
    }
    lines_.push_back(number);
    if (label_ >= 0)
      texts_.push_back(bad.empty() ? trimmed(fields[static_cast<size_t>(label_)]) : std::string());
  }

  void set_labels(const DataOptions& options) {
    if (label_ < 0) {
      if (options.labels == LabelChoice::kClass || options.labels == LabelChoice::kTarget)
        throw input_error("{}: labels are wanted, but the label column is \"none\"", path_);
      return;
    }
    bool numbers = true;
    bool whole = true;
    double smallest = 0;
    double largest = 0;
    std::vector<double> values(texts_.size());
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (bad_.contains(static_cast<int64_t>(i))) continue;
      if (!parse_number(texts_[i], values[i])) {
        numbers = false;
        break;
      }
      whole = whole && values[i] == std::floor(values[i]);
      smallest = std::min(smallest, values[i]);
      largest = std::max(largest, values[i]);
    }
    const auto most = static_cast<double>(std::min<int64_t>(kMostClasses, size()));
    // A network that tells classes apart wants class numbers, and those out of its range are errors, no
    // targets.
    const bool numbered = whole && (options.classes > 1 || (smallest >= 0 && largest < most));
    const bool classes = options.labels == LabelChoice::kClass ||
                         (options.labels == LabelChoice::kAuto && (!numbers || numbered));
    if (!classes) {
      set_targets(values, numbers, options.skip_bad);
    } else if (numbers) {
      set_numbered_classes(values, options);
    } else {
      set_named_classes(options);
    }
    texts_.clear();
  }

  void set_targets(const std::vector<double>& values, bool numbers, bool skip_bad) {
    std::vector<float> targets(values.begin(), values.end());
    if (!numbers) {
      for (size_t i = 0; i < texts_.size(); ++i) {
        double value = 0;
        if (parse_number(texts_[i], value)) {
          targets[i] = static_cast<float>(value);
          continue;
        }
        const auto index = static_cast<int64_t>(i);
        const std::string why =
            fmt::format("{}: the label \"{}\" is not a finite number", name(index), texts_[i].substr(0, 40));
        if (!skip_bad) throw Error(ErrorKind::kInput, why);
        bad_.emplace(index, why);
      }
    }
    labels_ = target_labels(std::move(targets), 1, info_);
  }

  void set_numbered_classes(const std::vector<double>& values, const DataOptions& options) {
    std::vector<int64_t> indices(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      // Everything that is no class number becomes one that class_labels refuses.
      const bool good = values[i] >= 0 && values[i] == std::floor(values[i]) && values[i] < 0x1p31;
      indices[i] = good ? static_cast<int64_t>(values[i]) : values[i] < 0 ? -1 : int64_t{1} << 40;
      if (!good && !options.skip_bad)
        throw input_error("{}: the label {} is no class number (0, 1, 2, …)", name(static_cast<int64_t>(i)),
                          values[i]);
    }
    labels_ = class_labels(
        indices, options.classes, options.skip_bad, [this](int64_t i) { return name(i); }, info_);
  }

  void set_named_classes(const DataOptions& options) {
    std::set<std::string> names;
    for (size_t i = 0; i < texts_.size(); ++i)
      if (!bad_.contains(static_cast<int64_t>(i))) names.insert(texts_[i]);
    // Text in a column of numbers is more likely an error than a million classes.
    if (static_cast<int64_t>(names.size()) > kMostClasses && options.labels == LabelChoice::kAuto)
      throw input_error(
          "{}: the label column holds {} different texts; which column is the label (label_column)?", path_,
          names.size());
    info_.class_names.assign(names.begin(), names.end());
    std::vector<int64_t> indices(texts_.size());
    for (size_t i = 0; i < texts_.size(); ++i)
      indices[i] = std::lower_bound(info_.class_names.begin(), info_.class_names.end(), texts_[i]) -
                   info_.class_names.begin();
    labels_ = class_labels(
        indices, options.classes, options.skip_bad, [this](int64_t i) { return name(i); }, info_);
  }

  std::string path_;
  int64_t label_ = -1;
  int64_t features_ = 0;
  std::vector<float> values_;           // features_ a sample
  std::vector<int64_t> lines_;          // each sample's line
  std::vector<std::string> texts_;      // labels, until they are understood
  std::map<int64_t, std::string> bad_;  // with skip_bad: what is wrong with a sample
  Labels labels_;
};

}  // namespace

bool is_csv_file(const std::string& path) {
  return path.ends_with(".csv") || path.ends_with(".tsv");
}

std::unique_ptr<Dataset> open_csv(const Spec& spec, const DataOptions& options) {
  if (!spec.split.empty())
    throw input_error("{} is one file, so there is no [{}] in it", spec.path, spec.split);
  return std::make_unique<Csv>(spec.path, options);
}

}  // namespace halftone::data
