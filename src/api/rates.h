// What single tensors are trained with, and from when on: --lr-scale, --weight-decay-for, --layer-decay, --unfreeze.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "onnx/roles.h"
#include "pass/training.h"

namespace halftone::api {

// Error (usage): a text that is no PATTERN=NUMBER, or of --unfreeze no PATTERN=WHEN.
void check_rates(const TrainOptions& options);

// Of the parameters that have rates of their own. Of several patterns that match a tensor the one with most letters
// counts. Error (usage): a pattern matches no trained tensor; two patterns say as much and different things.
// steps_per_epoch: of the run; 0: it has no epochs, and --unfreeze counts steps alone.
std::map<std::string, pass::TensorRates> rates_of(const TrainOptions& options, const onnx::Model& model,
                                                  const std::vector<onnx::TensorRole>& roles,
                                                  int64_t steps_per_epoch, const Log& log);

}  // namespace halftone::api
