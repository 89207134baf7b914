// What single tensors are trained with: --lr-scale, --weight-decay-for and --layer-decay.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "onnx/roles.h"
#include "pass/training.h"

namespace halftone::api {

// Error (usage): a text that is no PATTERN=NUMBER.
void check_rates(const TrainOptions& options);

// Of the parameters that have rates of their own. Of several patterns that match a tensor the one with most letters
// counts. Error (usage): a pattern matches no trained tensor; two patterns say as much and different things.
std::map<std::string, pass::TensorRates> rates_of(const TrainOptions& options, const onnx::Model& model,
                                                  const std::vector<onnx::TensorRole>& roles, const Log& log);

}  // namespace halftone::api
