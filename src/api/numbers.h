// Options that are numbers: finite, representable where they are used, and no product of them too large.
#pragma once

#include <cstdint>
#include <vector>

#include "halftone/halftone.h"

namespace halftone::api {

// Error (usage) naming the first option that is not finite, that fp32, in which the kernels take it, turns
// into infinity, into 0 or into a value outside its range, or that counts more than 2^53: up to there fp64
// counts exactly, in which schedules and summaries do.
void check_numbers(const NetworkOptions& options);
void check_numbers(const DataOptions& options);
void check_numbers(const TrainOptions& options);

// Error (usage) when the run would have no step, or more steps or samples than can be counted. `samples`: of
// each size class of the training data.
void check_length(const TrainOptions& options, const std::vector<int64_t>& samples);

}  // namespace halftone::api
