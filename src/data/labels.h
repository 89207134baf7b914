// Labels read from arrays, columns or folders, checked once when a set is opened.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace halftone::data {

// What a reader found, before anybody decides how it is read.
struct RawLabels {
  LabelForm::Kind kind = LabelForm::Kind::kNone;
  std::string where;                   // the file, and the array or column in it
  int64_t width = 1;                   // numbers a sample
  Shape shape;                         // their axes, where there are any
  std::vector<int64_t> integers;       // kIntegers; kText when all numbers are whole
  std::vector<float> floats;           // kFloats; kText otherwise
  std::vector<std::string> names;      // kNames: the different ones
  std::vector<int32_t> name_of;        // kNames: each sample's, an index into `names`
  bool several_labels = false;         // LabelForm::several_labels
  bool numbered = false;               // kNames: class i is names[i] in the data itself
  int64_t classes = 0;                 // that the format has; 0: it does not say
  std::map<int64_t, std::string> bad;  // samples without a label that can be used, and why (skip_bad)
  bool has_class_option = true;        // the command has --classes-file
};

// All labels of a set in the form that was decided on.
struct Labels {
  LabelKind kind = LabelKind::kNone;
  std::vector<int32_t> classes;  // kClass: one a sample
  std::vector<float> targets;    // kTarget: target_size a sample
  int64_t target_size = 0;
  std::map<int64_t, std::string> bad;  // why a sample cannot be used

  // Dataset::class_of.
  std::optional<int32_t> class_of(int64_t index) const {
    return kind == LabelKind::kClass ? std::optional(classes[static_cast<size_t>(index)]) : std::nullopt;
  }
  // Error for a bad one.
  void get(int64_t index, Sample& sample) const;
};

// Numbers the classes, asks options.read_labels, and brings the labels into that form; sets info.labels,
// classes, class_names, target_size and notes. `name` says which sample a label belongs to. Errors: a class
// that options.class_map does not have; a number that is not finite; a label that does not fit what was
// decided (with skip_bad such samples become bad ones).
Labels resolve_labels(RawLabels raw, const OpenOptions& options,
                      const std::function<std::string(int64_t)>& name, DataInfo& info);

// The class number of one position: -1 where it is ignored. Error, beginning with where(): it is out of
// range.
int32_t position_label(int64_t value, const LabelReading& reading, const std::function<std::string()>& where);

// Of numbers and names; the names in the order of the classes.
LabelForm form_of(const RawLabels& raw, const std::function<std::string(int64_t)>& name);

}  // namespace halftone::data
