#include "data/labels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "base/error.h"

namespace halftone::data {
namespace {

using Kind = LabelForm::Kind;
using Name = std::function<std::string(int64_t)>;

// Of a sample's probabilities: each may be rounded to bf16, by 2^-9 of itself.
constexpr double kSumError = 1.0 / 256;
// A CSV column of more numbers than this is no column of class numbers, unless the network says so.
constexpr int64_t kMostClassNumbers = 1000;

int64_t samples_of(const RawLabels& raw) {
  if (raw.kind == Kind::kNames) return static_cast<int64_t>(raw.name_of.size());
  return static_cast<int64_t>(raw.integers.empty() ? raw.floats.size() : raw.integers.size()) / raw.width;
}

double number(const RawLabels& raw, int64_t i) {
  return raw.integers.empty() ? static_cast<double>(raw.floats[static_cast<size_t>(i)])
                              : static_cast<double>(raw.integers[static_cast<size_t>(i)]);
}

// Calls use(sample) for those that can be used.
template <class Use>
void for_good(const RawLabels& raw, const Use& use) {
  auto bad = raw.bad.begin();
  for (int64_t i = 0; i < samples_of(raw); ++i) {
    if (bad != raw.bad.end() && bad->first == i) {
      ++bad;
    } else {
      use(i);
    }
  }
}

// Throws, or notes a sample that is left out.
void refuse(std::map<int64_t, std::string>& bad, int64_t sample, const std::string& why, bool skip_bad) {
  if (!skip_bad) throw Error(ErrorKind::kInput, why);
  bad.emplace(sample, why);
}

void check_finite(RawLabels& raw, const Name& name, bool skip_bad) {
  for (size_t i = 0; i < raw.floats.size(); ++i) {
    if (std::isfinite(raw.floats[i])) continue;
    const int64_t sample = static_cast<int64_t>(i) / raw.width;
    refuse(raw.bad, sample,
           fmt::format("{}: its label is {}, not a finite number in fp32 (in {})", name(sample),
                       raw.floats[i], raw.where),
           skip_bad);
  }
}

// A class file whose names are numbers: the labels are these names.
void take_for_names(RawLabels& raw, const OpenOptions& options) {
  const bool numbers = raw.kind == Kind::kIntegers || raw.kind == Kind::kText || raw.kind == Kind::kFloats;
  if (!options.class_map.asked || !numbers || raw.width != 1 || !are_other_numbers(options.class_map.names))
    return;
  std::map<std::string, int32_t> index;
  std::vector<int32_t> name_of(static_cast<size_t>(samples_of(raw)), -1);
  std::vector<std::string> names;
  bool whole = true;
  for_good(raw, [&](int64_t i) {
    const double value = number(raw, i);
    whole = whole && value == std::floor(value) && std::fabs(value) < 0x1p53;
    if (!whole) return;
    const std::string name = std::to_string(static_cast<int64_t>(value));
    const auto [it, added] = index.emplace(name, static_cast<int32_t>(names.size()));
    if (added) names.push_back(name);
    name_of[static_cast<size_t>(i)] = it->second;
  });
  if (!whole) return;
  raw.kind = Kind::kNames;
  raw.names = std::move(names);
  raw.name_of = std::move(name_of);
  raw.integers.clear();
  raw.floats.clear();
}

// The classes of `raw` under their final numbers.
void number_classes(RawLabels& raw, const OpenOptions& options, DataInfo& info) {
  if (raw.kind != Kind::kNames) return;
  std::vector<std::string> order;
  const std::vector<std::string>& wanted = options.class_map.names;
  const auto in = [](const std::vector<std::string>& list, const std::string& what) {
    return std::find(list.begin(), list.end(), what) != list.end();
  };
  std::vector<std::string> unknown;
  for (const std::string& n : raw.names)
    if (!wanted.empty() && !in(wanted, n)) unknown.push_back(n);
  if (!wanted.empty() && raw.numbered && !unknown.empty()) {
    info.notes.push_back(
        fmt::format("its class names differ from those of {}; only its class numbers are used",
                    options.class_map.source));
    order = raw.names;
  } else if (!wanted.empty()) {
    if (!unknown.empty())
      throw input_error(
          "{}: unknown class{} {}; {} has the classes {}\n  (--classes-file FILE gives other classes, one "
          "name a line, "
          "in the order of the network's outputs)",
          raw.where, unknown.size() == 1 ? "" : "es", some_of(unknown), options.class_map.source,
          some_of(wanted));
    std::vector<std::string> missing;
    for (const std::string& n : wanted)
      if (!in(raw.names, n)) missing.push_back(n);
    if (!missing.empty())
      info.notes.push_back(fmt::format("no sample of {} of the {} classes: {}", missing.size(), wanted.size(),
                                       some_of(missing)));
    order = wanted;
  } else if (raw.numbered) {
    order = raw.names;
  } else {
    order = in_class_order(raw.names);
    if (counts_as_numbers(order))
      info.notes.push_back(fmt::format("the class names are numbers and are in the order of their values: {}",
                                       some_of(order)));
  }
  std::map<std::string, int32_t> index;
  for (size_t i = 0; i < order.size(); ++i) index.emplace(order[i], static_cast<int32_t>(i));
  for (int32_t& n : raw.name_of)
    if (n >= 0) n = index.at(raw.names[static_cast<size_t>(n)]);
  raw.names = std::move(order);
}

LabelReading default_reading(const LabelForm& form, const OpenOptions& options, int64_t samples) {
  bool classes = form.kind == Kind::kNames || (form.kind == Kind::kIntegers && form.width == 1);
  if (form.kind == Kind::kText)
    classes =
        form.whole &&
        (options.classes > 1 ||
         (form.smallest >= 0 && form.largest < static_cast<double>(std::min(kMostClassNumbers, samples))));
  if (!classes) return {LabelKind::kTarget, 0};
  const auto named = static_cast<int64_t>(form.names.size());
  if (options.classes > 0 && std::max(named, form.classes) > options.classes)
    throw input_error("{}: there are {} classes, but the network has {}", form.where,
                      std::max(named, form.classes), options.classes);
  return {LabelKind::kClass, std::max(options.classes, form.classes)};
}

int32_t class_number(const RawLabels& raw, int64_t sample, int64_t limit, const Name& name,
                     std::map<int64_t, std::string>& bad, bool skip_bad) {
  const double value = number(raw, sample);
  if (value != std::floor(value)) {
    refuse(bad, sample,
           fmt::format("{}: the label {} is no class number (0, 1, 2, ...)", name(sample), value), skip_bad);
    return -1;
  }
  if (value >= 0 && value < static_cast<double>(limit)) return static_cast<int32_t>(value);
  refuse(
      bad, sample,
      limit < std::numeric_limits<int32_t>::max()
          ? fmt::format("{}: the label {} is out of range; the network has {} classes, 0 to {}{}",
                        name(sample), value, limit, limit - 1,
                        value == static_cast<double>(limit)
                            ? raw.has_class_option
                                  ? fmt::format(" (where classes count from 1, give --classes-file FILE with "
                                                "the lines 1 to {})",
                                                limit)
                                  : " (classes count from 0: where these count from 1, subtract 1 from each)"
                            : "")
          : fmt::format("{}: the label {} is out of range; classes count from 0", name(sample), value),
      skip_bad);
  return -1;
}

// The one 1 among zeros.
int32_t hot(const RawLabels& raw, int64_t sample) {
  int32_t at = -1;
  for (int64_t i = 0; i < raw.width; ++i) {
    const double value = number(raw, sample * raw.width + i);
    if (value == 0) continue;
    HT_ASSERT(value == 1 && at < 0, "sample {} is not one-hot", sample);
    at = static_cast<int32_t>(i);
  }
  return at;
}

Labels as_classes(const RawLabels& raw, int64_t classes, std::optional<int64_t> ignored,
                  const OpenOptions& options, const Name& name, DataInfo& info) {
  Labels labels;
  labels.kind = LabelKind::kClass;
  labels.classes.assign(static_cast<size_t>(samples_of(raw)), -1);
  const int64_t limit = classes > 0 ? classes : std::numeric_limits<int32_t>::max();
  int32_t largest = -1;
  for_good(raw, [&](int64_t i) {
    int32_t label = 0;
    if (raw.kind == Kind::kNames) {
      label = raw.name_of[static_cast<size_t>(i)];
    } else if (raw.width > 1) {
      label = hot(raw, i);
    } else if (ignored && number(raw, i) == static_cast<double>(*ignored)) {
      label = -1;
    } else {
      label = class_number(raw, i, limit, name, labels.bad, options.skip_bad);
    }
    HT_ASSERT(label < limit, "class {} of {}", label, limit);
    largest = std::max(largest, label);
    labels.classes[static_cast<size_t>(i)] = label;
  });
  info.labels = LabelKind::kClass;
  const auto named = static_cast<int64_t>(raw.names.size());
  info.classes = classes > 0 ? classes : std::max<int64_t>(named, largest + 1);
  info.class_names = raw.names;
  return labels;
}

Labels as_targets(RawLabels& raw, DataInfo& info) {
  Labels labels;
  labels.kind = LabelKind::kTarget;
  labels.target_size = raw.width;
  labels.targets = std::move(raw.floats);
  if (labels.targets.empty()) labels.targets.assign(raw.integers.begin(), raw.integers.end());
  info.labels = LabelKind::kTarget;
  info.target_size = raw.width;
  return labels;
}

}  // namespace

void Labels::get(int64_t index, Sample& sample) const {
  if (const auto it = bad.find(index); it != bad.end()) throw Error(ErrorKind::kInput, it->second);
  sample.label = -1;
  sample.target.clear();
  if (kind == LabelKind::kClass) {
    sample.label = classes[static_cast<size_t>(index)];
  } else if (kind == LabelKind::kTarget) {
    const auto begin = targets.begin() + static_cast<std::ptrdiff_t>(index * target_size);
    sample.target.assign(begin, begin + static_cast<std::ptrdiff_t>(target_size));
  }
}

LabelForm form_of(const RawLabels& raw, const Name& name) {
  LabelForm form;
  form.kind = raw.kind;
  form.where = raw.where;
  form.sample_name = name;
  form.names = raw.names;
  form.classes = raw.classes;
  form.width = raw.width;
  form.shape = raw.shape;
  form.several_labels = raw.several_labels;
  if (!form.numbers()) return form;
  form.whole = true;
  form.distributions = form.one_hot = raw.width > 1;
  bool first = true;
  for_good(raw, [&](int64_t sample) {
    double sum = 0;
    double least = 0;
    bool unit = true;  // zeros and ones only
    for (int64_t i = sample * raw.width; i < (sample + 1) * raw.width; ++i) {
      const double value = number(raw, i);
      if (first || value < form.smallest) form.smallest = value, form.smallest_at = sample;
      if (first || value > form.largest) form.largest = value, form.largest_at = sample;
      first = false;
      if (form.whole && value != std::floor(value)) form.whole = false, form.fraction_at = sample;
      sum += value;
      least = std::min(least, value);
      unit = unit && (value == 0 || value == 1);
    }
    form.one_hot = form.one_hot && unit && sum == 1;
    if (form.distributions && (least < 0 || std::fabs(sum - 1) > kSumError)) {
      form.distributions = false;
      form.no_distribution_at = sample;
      form.no_distribution_sum = sum;
    }
  });
  form.one_hot = form.one_hot && form.distributions;
  return form;
}

int32_t position_label(int64_t value, const LabelReading& reading,
                       const std::function<std::string()>& where) {
  if (reading.ignored && value == *reading.ignored) return -1;
  if (value < 0 || value >= reading.classes)
    throw input_error("{}: the label {} is out of range; the network has {} classes, 0 to {}{}", where(),
                      value, reading.classes, reading.classes - 1,
                      reading.ignored ? fmt::format(" (--ignore-index {} marks targets that do not count)",
                                                    *reading.ignored)
                                      : "");
  return static_cast<int32_t>(value);
}

Labels resolve_labels(RawLabels raw, const OpenOptions& options, const Name& name, DataInfo& info) {
  HT_ASSERT(raw.kind != Kind::kNone && raw.width >= 1);
  check_finite(raw, name, options.skip_bad);
  take_for_names(raw, options);
  number_classes(raw, options, info);
  const LabelForm form = form_of(raw, name);
  const LabelReading reading =
      options.read_labels ? options.read_labels(form, info) : default_reading(form, options, samples_of(raw));
  HT_ASSERT(reading.kind != LabelKind::kPositions, "{}", raw.where);
  Labels labels = reading.kind == LabelKind::kClass
                      ? as_classes(raw, reading.classes, reading.ignored, options, name, info)
                      : as_targets(raw, info);
  info.reading = reading;
  for (const auto& [sample, why] : raw.bad) labels.bad.emplace(sample, why);
  return labels;
}

}  // namespace halftone::data
