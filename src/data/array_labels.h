// Labels that are an array of their own: held in memory, or, where each position has a class, read sample by
// sample.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "data/array.h"
#include "data/labels.h"

namespace halftone::data {

class ArrayLabels {
 public:
  // Decides how they are read (options.read_positions, options.read_labels), and sets info's labels, reading,
  // classes and notes. Errors: another number of labels than `samples`, those of resolve_labels.
  void open(Array y, int64_t samples, const std::string& x_name, const OpenOptions& options, DataInfo& info);
  // The labels of a further loss (options.read_field): the field that they are.
  MoreField open_field(Array y, int64_t samples, const std::string& x_name, const Field& wanted,
                       const OpenOptions& options, std::vector<std::string>& notes);
  // Classes of positions, as is known already.
  void take_positions(Array y, const LabelReading& reading);

  LabelKind kind() const { return kind_; }
  void get(int64_t index, Sample& sample) const;
  // The label, target or positions of a sample, as bytes of the field's type.
  void get_bytes(int64_t index, std::vector<std::byte>& to) const;

 private:
  LabelKind kind_ = LabelKind::kNone;
  Labels labels_;
  Array positions_;
  LabelReading reading_;
};

}  // namespace halftone::data
