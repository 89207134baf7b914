// Targets that count: whose weight, of their class, their sample and what is ignored, is above 0.
#pragma once

#include <functional>

#include "data/dataset.h"

namespace halftone::data {

// What the target of class `label` counts in a sample that counts `of_sample`; 0 where it is ignored (below
// 0).
float weight_of_label(const LabelReading& reading, int32_t label, float of_sample);

// What the targets of a sample count that are read so; of `sample.more`.
float weight_of_sample(const DataInfo& info, const LabelReading& reading, const Sample& sample);

// Error: weighted labels of which none counts. Reads samples until one does, which is the first as a rule.
void check_some_target_counts(const Dataset& set, const std::function<void()>& between = {});

}  // namespace halftone::data
