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

// All that could be what is wanted, the likeliest first.
template <size_t N>
std::vector<std::string> find(const std::vector<std::string>& names, const std::string& split,
                              const char* const (&wanted)[N]) {
  std::vector<std::string> found;
  for (const char* want : wanted) {
    for (const std::string& name : names) {
      const Parts parts = parts_of(name);
      if (parts.what == want && parts.split == split) found.push_back(name);
    }
  }
  return found;
}

// The array that the option names: exactly, or without the split that is read.
std::string stated(const std::vector<std::string>& names, const char* option, const std::string& key,
                   const std::string& split, const std::string& path) {
  if (std::find(names.begin(), names.end(), key) != names.end()) {
    const std::string own = parts_of(key).split;
    if (split.empty() || own.empty() || own == split) return key;
    throw input_error(
        "{}: {} {} names an array of [{}], but [{}] is read; give the name without its split, {}", path,
        option, key, own, split, parts_of(key).what);
  }
  for (const std::string& name : names) {
    const Parts parts = parts_of(name);
    if (!split.empty() && parts.what == key && parts.split == split) return name;
  }
  throw input_error("{}{} has no array {} ({}); it has {}", path, split.empty() ? "" : "[" + split + "]", key,
                    option, fmt::join(names, ", "));
}

// Of a key without its split: those in which it is there. None where it names an array as it is.
std::vector<std::string> splits_of_key(const std::vector<std::string>& names, const std::string& key) {
  std::vector<std::string> splits;
  if (std::find(names.begin(), names.end(), key) != names.end()) return splits;
  for (const char* split : {"train", "val", "test"})
    if (std::any_of(names.begin(), names.end(), [&](const std::string& name) {
          const Parts parts = parts_of(name);
          return parts.what == key && parts.split == split;
        }))
      splits.emplace_back(split);
  return splits;
}

[[noreturn]] void refuse_several(const std::string& path, const char* what, const char* option,
                                 const std::vector<std::string>& found) {
  throw input_error("{}: which array holds the {}? {} could be; choose with {} {}", path, what,
                    fmt::join(found, " and "), option, found.front());
}

}  // namespace

std::vector<std::string> splits_in_names(const std::vector<std::string>& names) {
  std::vector<std::string> splits;
  for (const char* split : {"train", "val", "test"})
    if (!find(names, split, kSamples).empty()) splits.emplace_back(split);
  return splits;
}

ArrayNames choose_arrays(const std::vector<std::string>& names, const Spec& spec, const OpenOptions& options,
                         const std::function<int64_t(const std::string& name)>& rows) {
  if (names.empty()) throw input_error("{} holds no arrays", spec.path);
  ArrayNames chosen;
  std::string split = spec.split;
  if (options.x_key.empty()) {
    const std::vector<std::string> splits = splits_in_names(names);
    if (!splits.empty() || !spec.split.empty()) split = choose_split(spec, options.splits, splits);
    std::vector<std::string> found = find(names, split, kSamples);
    if (found.size() > 1) std::erase(found, options.y_key);
    if (found.size() > 1) refuse_several(spec.path, "samples", "--x-key", found);
    if (const char* const input[] = {options.input_name.c_str()};
        found.empty() && !options.input_name.empty())
      found = find(names, split, input);
    // A single array can be nothing else.
    if (found.empty() && names.size() == 1) found = names;
    if (found.empty())
      throw input_error("{}: which array holds the samples? It has {}; expected {}{}, or --x-key NAME",
                        spec.path, fmt::join(names, ", "), fmt::join(kSamples, ", "),
                        options.input_name.empty() ? "" : ", or the input's name, " + options.input_name);
    chosen.x = found.front();
  } else {
    if (const std::vector<std::string> splits = splits_of_key(names, options.x_key);
        split.empty() && !splits.empty())
      split = choose_split(spec, options.splits, splits);
    chosen.x = stated(names, "--x-key", options.x_key, split, spec.path);
    if (const std::string own = parts_of(chosen.x).split; own != split && !split.empty())
      throw input_error(
          "{}[{}]: --x-key {} names one array for all parts; leave out the part (--val none: no validation) "
          "or the option",
          spec.path, split, options.x_key);
    split = parts_of(chosen.x).split;
  }
  if (!options.labels) return chosen;
  if (!options.y_key.empty()) {
    chosen.y = stated(names, "--y-key", options.y_key, split, spec.path);
    if (chosen.y == chosen.x)
      throw input_error("{}: array {} cannot be both the samples and the labels (--x-key, --y-key)",
                        spec.path, chosen.x);
  } else {
    std::vector<std::string> found = find(names, split, kLabels);
    std::erase(found, chosen.x);
    // One label a sample: what has another length is something else, such as the names of the classes.
    if (found.size() > 1) {
      const int64_t samples = rows(chosen.x);
      std::vector<std::string> fit = found;
      std::erase_if(fit, [&](const std::string& name) {
        const int64_t n = rows(name);
        return samples >= 0 && n >= 0 && n != samples;
      });
      if (fit.size() != 1) refuse_several(spec.path, "labels", "--y-key", fit.empty() ? found : fit);
      found = fit;
    }
    if (found.empty() && names.size() > 1)
      throw input_error("{}: which array holds the labels? It has {}; expected {}, or --y-key NAME",
                        spec.path, fmt::join(names, ", "), fmt::join(kLabels, ", "));
    if (!found.empty()) chosen.y = found.front();
  }
  return chosen;
}

std::vector<ArrayHeader> arrays_of_split(
    const std::vector<std::string>& names, const Spec& spec, const OpenOptions& options,
    const std::function<std::optional<ArrayHeader>(const std::string& name)>& header) {
  if (names.empty()) throw input_error("{} holds no arrays", spec.path);
  std::vector<std::string> splits;
  for (const char* split : {"train", "val", "test"})
    if (std::any_of(names.begin(), names.end(),
                    [&](const std::string& name) { return parts_of(name).split == split; }))
      splits.emplace_back(split);
  const std::string split =
      splits.empty() && spec.split.empty() ? "" : choose_split(spec, options.splits, splits);
  std::vector<ArrayHeader> arrays;
  for (const bool of_split : {true, false})
    for (const std::string& name : names) {
      const Parts parts = parts_of(name);
      if (of_split ? parts.split != split : !parts.split.empty() || split.empty()) continue;
      const auto same = [&](const ArrayHeader& a) { return a.name == parts.what; };
      if (std::any_of(arrays.begin(), arrays.end(), same)) continue;
      std::optional<ArrayHeader> array = header(name);
      if (!array) continue;
      array->name = parts.what;
      array->stored = name;
      arrays.push_back(std::move(*array));
    }
  return arrays;
}

}  // namespace halftone::data
