// An evaluation of a network as it is in a file, with a program of its own.
#pragma once

#include <functional>
#include <vector>

#include "api/session.h"

namespace halftone::api {

struct EvaluationOptions {
  DType storage = DType::kF32;
  kern::Multiply multiply = kern::Multiply::kWide;
  pass::LossOptions loss;
  int64_t batch = 1;         // at most; smaller where the data has fewer samples
  bool fixed_batch = false;  // the graph works with `batch` samples alone
  int threads = 1;
  uint64_t seed = 0;
};

struct Evaluation {
  std::vector<train::Score> scores;  // batch by batch, with the samples' losses
  int64_t planned_bytes = 0;
};

// Of the samples of `data` in their order, as long as `more`, with the number of batches that are done, says
// so.
Evaluation evaluate(const onnx::Model& model, const Data& data, const DataOptions& data_options,
                    const EvaluationOptions& options, const std::function<bool(int64_t batches)>& more);

}  // namespace halftone::api
