// What becomes of a network's float tensors, in words: how many are trained, and which are not, and why.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "onnx/roles.h"

namespace halftone::api {

// "tensors: 62 trained (272474 numbers), 38 running statistics, 0 frozen, 4 constant"
std::string counts_of(const std::vector<onnx::TensorRole>& roles);
// {"trained": 62, "statistic": 38, "frozen": 0, "constant": 4}
nlohmann::json counts_json(const std::vector<onnx::TensorRole>& roles);

// The counts, and what a user might not expect: parameters that stay as they are (as warnings), and what was
// decided by signs that can mislead.
void report_roles(const std::vector<onnx::TensorRole>& roles, const Log& log);

// All that are not trained, with the reason of each. `sparse`: the file's sparse initializers.
std::string not_trained_table(const std::vector<onnx::TensorRole>& roles,
                              const std::vector<std::string>& sparse);
// One object a tensor: name, shape, role, reason, node, doubtful.
nlohmann::json roles_json(const std::vector<onnx::TensorRole>& roles);

// A line for each tensor that several nodes read as one, but for constants: which these are. And one for each
// place of a data file that has several names.
std::vector<std::string> shared_tensors(const onnx::Model& model, const std::vector<onnx::TensorRole>& roles);

}  // namespace halftone::api
