#include "data/names.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace halftone::data {
namespace {

constexpr const char* kSamples[] = {"x", "X", "images", "image", "data", "inputs", "input", "features"};
constexpr const char* kLabels[] = {"y", "Y", "labels", "label", "targets", "target", "classes"};

// A name in two parts: "x_train" and "train_x" are x of train, "x" is x of no split.
struct Parts {
  std::string what;
  std::string split;
};

Parts parts_of(const std::string& name) {
  const size_t last = name.rfind('_');
  if (last != std::string::npos && is_split_name(name.substr(last + 1)))
    return {name.substr(0, last), canonical_split(name.substr(last + 1))};
  const size_t first = name.find('_');
  if (first != std::string::npos && is_split_name(name.substr(0, first)))
    return {name.substr(first + 1), canonical_split(name.substr(0, first))};
  return {name, ""};
}

template <size_t N>
std::string find(const std::vector<std::string>& names, const std::string& split,
                 const char* const (&wanted)[N]) {
  for (const char* want : wanted) {
    for (const std::string& name : names) {
      const Parts parts = parts_of(name);
      if (parts.what == want && parts.split == split) return name;
    }
  }
  return "";
}

std::string stated(const std::vector<std::string>& names, const std::string& key, const std::string& path) {
  if (std::find(names.begin(), names.end(), key) != names.end()) return key;
  throw input_error("{} has no array {}; it has {}", path, key, fmt::join(names, ", "));
}

}  // namespace

std::vector<std::string> splits_in_names(const std::vector<std::string>& names) {
  std::vector<std::string> splits;
  for (const char* split : {"train", "val", "test"})
    if (!find(names, split, kSamples).empty()) splits.emplace_back(split);
  return splits;
}

ArrayNames choose_arrays(const std::vector<std::string>& names, const Spec& spec,
                         const DataOptions& options) {
  if (names.empty()) throw input_error("{} holds no arrays", spec.path);
  ArrayNames chosen;
  std::string split;
  if (options.x_key.empty()) {
    const std::vector<std::string> splits = splits_in_names(names);
    if (!splits.empty() || !spec.split.empty()) split = choose_split(spec, options.splits, splits);
    chosen.x = find(names, split, kSamples);
    // A single array can be nothing else.
    if (chosen.x.empty() && names.size() == 1) chosen.x = names[0];
    if (chosen.x.empty())
      throw input_error("{}: which array holds the samples? It has {}; expected {}, or say x_key", spec.path,
                        fmt::join(names, ", "), fmt::join(kSamples, ", "));
  } else {
    chosen.x = stated(names, options.x_key, spec.path);
  }
  if (!options.y_key.empty()) {
    chosen.y = stated(names, options.y_key, spec.path);
  } else if (options.labels != LabelChoice::kNone) {
    chosen.y = find(names, options.x_key.empty() ? split : parts_of(chosen.x).split, kLabels);
    if (chosen.y.empty() && names.size() > 1)
      throw input_error(
          "{}: which array holds the labels? It has {}; expected {}, or say y_key, or that there are no "
          "labels",
          spec.path, fmt::join(names, ", "), fmt::join(kLabels, ", "));
  }
  return chosen;
}

}  // namespace halftone::data
