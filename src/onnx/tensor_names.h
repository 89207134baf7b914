// The names by which a user may call a tensor of a model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/patterns.h"
#include "onnx/model.h"

namespace halftone::onnx {

// A tensor's own name first, then that under which the file has it (with_own_statistics makes others), then those of
// Identity nodes behind it: exporters put these where they merge equal tensors.
class TensorNames {
 public:
  // Keeps nothing of the model.
  explicit TensorNames(const Model& model);

  const std::vector<std::string>& of(const std::string& tensor) const;
  // The first of its names that matches; empty: none does.
  std::string matching(const std::string& tensor, const std::string& pattern) const;
  Choice choice(const std::string& tensor, const TrainFreeze& patterns) const { return patterns.of(of(tensor)); }

 private:
  std::map<std::string, std::vector<std::string>> names_;
};

}  // namespace halftone::onnx
