#include "data/text_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "data/number.h"
#include "data/text.h"
#include "halftone/printable.h"

namespace halftone::data {
namespace {

constexpr int64_t kMostClasses = 1000;

// Where most labels are numbers, the others are errors, no names.
void check_mixed(TextLabels& labels, bool skip_bad) {
  int64_t numbers = 0;
  std::vector<size_t> others;
  double ignored = 0;
  for (size_t i = 0; i < labels.cells.size(); ++i) {
    if (labels.bad.contains(static_cast<int64_t>(i))) continue;
    if (read_number(labels.cells[i], labels.decimal, ignored)) {
      ++numbers;
    } else {
      others.push_back(i);
    }
  }
  if (static_cast<int64_t>(others.size()) >= numbers) return;
  for (const size_t i : others) {
    const auto index = static_cast<int64_t>(i);
    const std::string why =
        fmt::format("{}: {}, but most labels are numbers{}", labels.place(index),
                    why_no_number(labels.cells[i], labels.decimal), index == 0 ? labels.of_first_sample : "");
    if (!skip_bad) throw Error(ErrorKind::kInput, why);
    labels.bad.emplace(index, why);
  }
}

// Whether a class map has every label: then numbers are names too.
bool all_known(const TextLabels& labels, const std::vector<std::string>& names) {
  if (names.empty()) return false;
  const std::set<std::string> set(names.begin(), names.end());
  for (size_t i = 0; i < labels.cells.size(); ++i)
    if (!labels.bad.contains(static_cast<int64_t>(i)) && !set.contains(labels.cells[i])) return false;
  return true;
}

void set_numbers(RawLabels& raw, const std::vector<double>& values) {
  raw.kind = LabelForm::Kind::kText;
  const bool whole = std::all_of(values.begin(), values.end(),
                                 [](double v) { return v == std::floor(v) && std::fabs(v) < kMostWhole; });
  if (whole) {
    raw.integers.assign(values.begin(), values.end());
  } else {
    raw.floats.assign(values.begin(), values.end());
  }
}

void set_names(RawLabels& raw, const TextLabels& labels, const OpenOptions& options) {
  raw.kind = LabelForm::Kind::kNames;
  std::set<std::string> names;
  for (size_t i = 0; i < labels.cells.size(); ++i) {
    if (raw.bad.contains(static_cast<int64_t>(i))) continue;
    if (!is_utf8(labels.cells[i]))
      throw input_error("{}: the label \"{}\" is not UTF-8; save the table as UTF-8",
                        labels.place(static_cast<int64_t>(i)), shown(labels.cells[i]));
    names.insert(labels.cells[i]);
  }
  // Text in a column of numbers is more likely an error than a million classes.
  if (static_cast<int64_t>(names.size()) > kMostClasses && options.class_map.empty())
    throw input_error(
        "{}: the label column holds {} different texts; which column is the label (--label-column)?",
        labels.path, names.size());
  raw.names.assign(names.begin(), names.end());
  for (size_t i = 0; i < labels.cells.size(); ++i)
    raw.name_of.push_back(
        raw.bad.contains(static_cast<int64_t>(i))
            ? -1
            : static_cast<int32_t>(std::distance(
                  raw.names.begin(), std::lower_bound(raw.names.begin(), raw.names.end(), labels.cells[i]))));
}

}  // namespace

RawLabels raw_labels(TextLabels labels, const OpenOptions& options) {
  RawLabels raw;
  raw.where = labels.where;
  const bool known = all_known(labels, options.class_map.names);
  if (!known) check_mixed(labels, options.skip_bad);
  raw.bad = labels.bad;
  std::vector<double> values(labels.cells.size());
  bool numbers = true;
  for (size_t i = 0; i < labels.cells.size(); ++i)
    if (!raw.bad.contains(static_cast<int64_t>(i)) &&
        !read_number(labels.cells[i], labels.decimal, values[i]))
      numbers = false;
  if (known || !numbers) {
    set_names(raw, labels, options);
  } else {
    set_numbers(raw, values);
  }
  return raw;
}

}  // namespace halftone::data
