// val_samples.safetensors of a run's folder: the loss of each validation sample, and whether it was
// classified right, in the order of the validation data. What comparisons pair.
#pragma once

#include <string>
#include <vector>

#include "train/network.h"

namespace halftone::train {

inline constexpr const char* kSampleScoresFile = "val_samples.safetensors";

struct SampleScores {
  std::vector<double> loss;
  std::vector<double> correct;  // 0 or 1; empty for losses without classes
};

// Replaces the file atomically. The score must be an evaluation's, which keeps the samples'.
void write_sample_scores(const std::string& path, const Score& score);
// Error when it is no such file.
SampleScores read_sample_scores(const std::string& path);

}  // namespace halftone::train
