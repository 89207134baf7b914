// An adapter as PEFT stores it: adapter_config.json and adapter_model.safetensors in a folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace halftone::api {

struct PeftAdapter {
  std::string path;                       // of the tensors
  std::map<std::string, Tensor> tensors;  // without "base_model.model."; fp32
  std::vector<std::string> modules_to_save;

  // What the configuration says of a module.
  double scale(const std::string& module, int64_t rank) const;
  int64_t rank(const std::string& module) const;

  int64_t r = 0;
  double alpha = 0;
  bool rslora = false;
  // Of the modules that a key names, in the order of the file.
  std::vector<std::pair<std::string, double>> rank_pattern, alpha_pattern;
};

// Errors (input): a file that is missing or damaged; a configuration that asks for something else than
// W + scale B A, by the field's name.
PeftAdapter read_peft_adapter(const std::string& folder);

}  // namespace halftone::api
