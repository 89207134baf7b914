#include "data/labels.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace halftone::data {

void Labels::get(int64_t index, Sample& sample) const {
  sample.label = -1;
  sample.target.clear();
  if (kind == LabelKind::kClass) {
    sample.label = classes[static_cast<size_t>(index)];
  } else if (kind == LabelKind::kTarget) {
    const auto begin = targets.begin() + static_cast<std::ptrdiff_t>(index * target_size);
    sample.target.assign(begin, begin + static_cast<std::ptrdiff_t>(target_size));
  }
}

Labels class_labels(const std::vector<int64_t>& values, int64_t classes, bool skip_bad,
                    const std::function<std::string(int64_t)>& name, DataInfo& info) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  Labels labels;
  labels.kind = LabelKind::kClass;
  labels.classes.reserve(values.size());
  const int64_t limit = classes > 0 ? classes : kMost;
  int64_t largest = -1;
  for (size_t i = 0; i < values.size(); ++i) {
    const bool good = values[i] >= 0 && values[i] < limit;
    if (!good && !skip_bad) {
      const std::string where = name(static_cast<int64_t>(i));
      if (classes > 0)
        throw input_error("{}: the label {} is out of range; the network has {} classes, 0 to {}", where,
                          values[i], classes, classes - 1);
      throw input_error("{}: the label {} is out of range; classes count from 0", where, values[i]);
    }
    if (good) largest = std::max(largest, values[i]);
    labels.classes.push_back(good ? static_cast<int32_t>(values[i]) : -1);
  }
  info.labels = LabelKind::kClass;
  info.classes = classes > 0 ? classes : largest + 1;
  return labels;
}

Labels target_labels(std::vector<float> values, int64_t target_size, DataInfo& info) {
  Labels labels;
  labels.kind = LabelKind::kTarget;
  labels.targets = std::move(values);
  labels.target_size = target_size;
  info.labels = LabelKind::kTarget;
  info.target_size = target_size;
  return labels;
}

}  // namespace halftone::data
