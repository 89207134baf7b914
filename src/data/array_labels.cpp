#include "data/array_labels.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/error.h"
#include "data/text_labels.h"

namespace halftone::data {

void ArrayLabels::open(Array y, int64_t samples, const std::string& x_name, const OpenOptions& options,
                       DataInfo& info) {
  if (y.shape.empty() || y.shape[0] != samples)
    throw input_error("{} has {} samples, but {} has {} labels", x_name, samples, y.name,
                      y.shape.empty() ? 1 : y.shape[0]);
  const int64_t width = elements(y.shape) / samples;
  if (width < 1) throw input_error("{}: labels of shape {} are empty", y.name, to_string(y.shape));
  const std::string labels = y.name;
  std::function<std::string(int64_t)> sample_name = y.place;
  if (!sample_name) sample_name = [labels](int64_t i) { return fmt::format("{}, sample {}", labels, i); };
  if (y.text != nullptr) {
    labels_ = resolve_labels(raw_labels(*y.text, options), options, sample_name, info);
    kind_ = labels_.kind;
    return;
  }
  RawLabels raw;
  raw.where = y.name;
  raw.width = width;
  if (y.bad != nullptr) raw.bad = *y.bad;
  raw.shape.assign(y.shape.begin() + 1, y.shape.end());
  if (!is_float(y.type) && (width > 1 || options.one_position) && options.read_positions) {
    LabelForm form;
    form.kind = LabelForm::Kind::kIntegers;
    form.where = y.name;
    form.sample_name = sample_name;
    form.width = width;
    form.shape = raw.shape;
    if (auto reading = options.read_positions(form, info)) {
      info.labels = LabelKind::kPositions;
      info.classes = reading->classes;
      info.reading = *reading;
      take_positions(std::move(y), *reading);
      return;
    }
  }
  const auto count = static_cast<size_t>(samples * width);
  if (is_float(y.type)) {
    raw.kind = LabelForm::Kind::kFloats;
    raw.floats.resize(count);
    read_floats(y, 0, raw.floats);
  } else {
    raw.kind = LabelForm::Kind::kIntegers;
    raw.integers.resize(count);
    read_integers(y, 0, raw.integers);
  }
  labels_ = resolve_labels(std::move(raw), options, sample_name, info);
  kind_ = labels_.kind;
}

MoreField ArrayLabels::open_field(Array y, int64_t samples, const std::string& x_name, const Field& wanted,
                                  const OpenOptions& options, std::vector<std::string>& notes) {
  OpenOptions own = options;
  own.class_map = {};
  own.read_labels = [&](const LabelForm& form, const DataInfo&) {
    if (form.kind == LabelForm::Kind::kNames)
      throw input_error(
          "{}: it holds text, and only the first loss takes the names of classes; --codes numbers its texts",
          form.where);
    return options.read_field(wanted.name, form, true).value();
  };
  own.read_positions = [&](const LabelForm& form, const DataInfo&) {
    return options.read_field(wanted.name, form, false);
  };
  DataInfo info;
  open(std::move(y), samples, x_name, own, info);
  notes.insert(notes.end(), info.notes.begin(), info.notes.end());
  MoreField field;
  static_cast<Field&>(field) = wanted;
  field.reading = info.reading;
  const bool target = info.labels == LabelKind::kTarget;
  field.role = target ? FieldRole::kTarget : FieldRole::kLabel;
  field.dtype = target ? DType::kF32 : DType::kI32;
  field.shape = target                                 ? Shape{info.target_size}
                : info.labels == LabelKind::kPositions ? info.reading.shape
                                                       : Shape{};
  return field;
}

void ArrayLabels::take_positions(Array y, const LabelReading& reading) {
  HT_ASSERT(
      reading.kind == LabelKind::kPositions && elements(reading.shape) * y.shape.at(0) == elements(y.shape),
      "{}", y.name);
  kind_ = LabelKind::kPositions;
  reading_ = reading;
  positions_ = std::move(y);
}

void ArrayLabels::get(int64_t index, Sample& sample) const {
  if (kind_ != LabelKind::kPositions) return labels_.get(index, sample);
  sample.label = -1;
  sample.target.clear();
  const auto count = static_cast<size_t>(elements(reading_.shape));
  std::vector<int64_t> numbers(count);
  read_integers(positions_, index * static_cast<int64_t>(count), numbers);
  sample.labels.resize(count);
  for (size_t i = 0; i < count; ++i)
    sample.labels[i] = position_label(
        numbers[i], reading_, [&] { return fmt::format("{}, element {}", place_of(positions_, index), i); });
}

void ArrayLabels::get_bytes(int64_t index, std::vector<std::byte>& to) const {
  Sample sample;
  get(index, sample);
  const void* from = kind_ == LabelKind::kTarget  ? static_cast<const void*>(sample.target.data())
                     : kind_ == LabelKind::kClass ? static_cast<const void*>(&sample.label)
                                                  : static_cast<const void*>(sample.labels.data());
  std::memcpy(to.data(), from, to.size());
}

}  // namespace halftone::data
