// The names by which a user may call a tensor of a model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/patterns.h"
#include "onnx/model.h"

namespace halftone::onnx {

// A tensor's own name first, then those of Identity nodes behind it: exporters put these where they merge
// equal tensors. Of a tensor that with_own_statistics made: its own name, the names of Identity nodes through
// which its reader knew it, and the name of the file's tensor, which it shared with other readers. Last PyTorch's
// name (pytorch_names.h), where an exporter made up the file's.
class TensorNames {
 public:
  // Keeps nothing of the model.
  explicit TensorNames(const Model& model);

  const std::vector<std::string>& of(const std::string& tensor) const;
  // The first of its names that matches; empty: none does.
  std::string matching(const std::string& tensor, const std::string& pattern) const;
  // By all its names. What --freeze names by one of its own names is frozen, whatever is said of the file's
  // tensor that it was made from. pytorch: by that name too.
  Choice choice(const std::string& tensor, const TrainFreeze& patterns, bool pytorch = true) const;

 private:
  std::map<std::string, std::vector<std::string>> names_;
  std::map<std::string, std::string> pytorch_;
  std::map<std::string, std::vector<std::string>> own_names_;  // of tensors that with_own_statistics made
};

}  // namespace halftone::onnx
