// Labels read from arrays or columns, checked once when a set is opened.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace halftone::data {

// All labels of a set, in one of two forms. `bad` has the samples whose labels are out of range (with
// DataOptions::skip_bad; otherwise the first of them is an error).
struct Labels {
  LabelKind kind = LabelKind::kNone;
  std::vector<int32_t> classes;  // kClass: one a sample
  std::vector<float> targets;    // kTarget: target_size a sample
  int64_t target_size = 0;

  void get(int64_t index, Sample& sample) const;
};

// Checks class indices against [0, classes), classes 0 meaning "up to the largest there is", and sets
// info.labels and info.classes. `name` says which sample a label belongs to. Bad ones become -1 when
// `skip_bad`: reading them is an error then.
Labels class_labels(const std::vector<int64_t>& values, int64_t classes, bool skip_bad,
                    const std::function<std::string(int64_t)>& name, DataInfo& info);

Labels target_labels(std::vector<float> values, int64_t target_size, DataInfo& info);

}  // namespace halftone::data
