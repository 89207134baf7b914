#include "data/field.h"

#include "data/dataset.h"

namespace halftone::data {

bool is_float(Element type) {
  return type == Element::kF16 || type == Element::kBf16 || type == Element::kF32 || type == Element::kF64;
}

std::string name_of(Element type) {
  switch (type) {
    case Element::kBool:
      return "bool";
    case Element::kU8:
      return "uint8";
    case Element::kI8:
      return "int8";
    case Element::kU16:
      return "uint16";
    case Element::kI16:
      return "int16";
    case Element::kU32:
      return "uint32";
    case Element::kI32:
      return "int32";
    case Element::kU64:
      return "uint64";
    case Element::kI64:
      return "int64";
    case Element::kF16:
      return "fp16";
    case Element::kBf16:
      return "bf16";
    case Element::kF32:
      return "fp32";
    case Element::kF64:
      return "fp64";
  }
  return "?";
}

std::string weights_of(const std::string& label_field) {
  return label_field + " (weights)";
}

std::vector<Field> DataInfo::fields() const {
  std::vector<Field> all;
  if (has_samples)
    all.push_back({samples_name.empty() ? image ? "image" : "samples" : samples_name, FieldRole::kInput,
                   DType::kF32, shape});
  const auto add_weights = [&](const Field& of_labels, const LabelReading& how) {
    if (of_labels.role == FieldRole::kLabel && how.weighted())
      all.push_back({weights_of(of_labels.name), FieldRole::kWeight, DType::kF32, of_labels.shape});
  };
  if (labels != LabelKind::kNone) {
    const std::string name = labels_name.empty() ? "label" : labels_name;
    if (labels == LabelKind::kTarget) {
      all.push_back({name, FieldRole::kTarget, DType::kF32, {target_size}});
    } else {
      all.push_back(
          {name, FieldRole::kLabel, DType::kI32, labels == LabelKind::kPositions ? reading.shape : Shape{}});
    }
    const Field added = all.back();  // adding moves it
    add_weights(added, reading);
  }
  for (const MoreField& field : more) {
    all.push_back(field);
    add_weights(field, field.reading);
  }
  return all;
}

DataInfo DataInfo::of_size_class(size_t size_class) const {
  DataInfo info = *this;
  info.size_classes.clear();
  if (size_classes.empty()) return info;
  const SizeClass& size = size_classes.at(size_class);
  info.shape = size.shape;
  info.geometry = size.geometry;
  info.reading.shape = size.labels;
  if (labels == LabelKind::kTarget) info.target_size = elements(size.labels);
  for (size_t i = 0; i < info.more.size(); ++i) {
    MoreField& field = info.more[i];
    field.shape = size.more.at(i);
    if (field.reading.kind != LabelKind::kNone) field.reading.shape = field.shape;
    if (field.reading.kind == LabelKind::kTarget) field.shape = {elements(field.shape)};
  }
  return info;
}

std::vector<int64_t> samples_of_classes(const Dataset& set) {
  if (set.info().size_classes.empty()) return {set.size()};
  std::vector<int64_t> samples(set.info().size_classes.size());
  for (int64_t i = 0; i < set.size(); ++i) ++samples.at(set.size_class(i));
  return samples;
}

}  // namespace halftone::data
