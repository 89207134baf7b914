// The written file is what was measured: at the end of a run it is read from disk and evaluated as a user's
// file would be.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/evaluation.h"

namespace halftone::api {

struct ReadBackOptions : EvaluationOptions {
  std::vector<std::string> outputs;  // those that were trained
  // The file has exactly the numbers that were measured with; otherwise batch norms were folded into weights,
  // which are then rounded once more.
  bool exact = true;
  double seconds = 2;  // no further batch after this
};

struct ReadBack {
  int64_t samples = 0;
  bool all = false;  // whether these are all that were measured
  double loss = 0;   // of the file
  std::optional<double> accuracy;
  double measured = 0;               // what the run measured on the same samples
  std::vector<train::Score> scores;  // of the file, batch by batch
  int64_t planned_bytes = 0;
};

// A run's file with the outputs that were trained, for samples of `data`.
onnx::Model open_written(const std::string& path, const std::vector<std::string>& outputs, const Data& data);

// measured: of each batch of an evaluation of `data`, in order, as the run had it. `folder`, the run's, is
// for the message. Throws InternalError when the file's loss differs by more than rounding explains.
ReadBack read_back(const std::string& path, const std::vector<train::Score>& measured, const Data& data,
                   const DataOptions& data_options, const ReadBackOptions& options,
                   const std::string& folder);

}  // namespace halftone::api
