// --batchnorm and --freeze: which batch norms are trained, restored, or stay as they are.
#pragma once

#include <optional>
#include <string>

#include "api/session.h"

namespace halftone::api {

// Error unless it is a value of --batchnorm.
void check_batch_norms(const std::string& option);

// Decides --batchnorm and --freeze together, says so, and measures the statistics of the batch norms to
// restore on up to 1024 samples of `data`. Convolutions with a frozen weight or bias keep their batch norms
// folded.
struct BatchNormChoice {
  ops::BatchNormMode mode = ops::BatchNormMode::kTrain;
  std::string name;  // restore, keep or freeze
  onnx::Model
      model;  // what is trained and written: the given one, with a bias for each batch norm that is restored
  onnx::Frozen frozen;
  std::optional<pass::RestoredBatchNorms> restored;
};
BatchNormChoice choose_batch_norms(const NetworkOptions& options, const TrainFreeze& tensors,
                                   const onnx::Model& model, const Data& data,
                                   const DataOptions& data_options, const Log& log);

}  // namespace halftone::api
