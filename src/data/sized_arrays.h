// Named arrays whose samples have several sizes: of each size a group of samples, with arrays of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/array.h"

namespace halftone::data {

// Samples whose arrays have the same shapes.
struct SizeGroup {
  int64_t samples = 0;
  std::function<Array(const std::string& stored)> read;  // by the names of the ArrayChoice
  std::function<std::string(int64_t)> name;              // of a sample, for messages
};

// More are refused: a network is compiled for each.
inline constexpr size_t kMostSizeClasses = 64;

// The set of all groups, of which the first is the largest: options were asked about it. Groups whose samples
// get the same shapes, such as images that are resized, are one class. Labels of one shape in all groups are
// read together, others by their group, as the first group's are.
std::unique_ptr<Dataset> make_sized_dataset(const std::string& kind, const std::string& path,
                                            const ArrayChoice& choice, std::vector<SizeGroup> groups,
                                            const OpenOptions& options);

// The samples with their classes mixed in proportion: sample r of the n of its class has the position (r +
// 1/2) / n. Without classes: as they are.
std::vector<int64_t> mixed_classes(const Dataset& set);

}  // namespace halftone::data
