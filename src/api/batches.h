// --batch auto and --effective-batch: in how many batches a step's samples are dealt.
#pragma once

#include "halftone/halftone.h"

namespace halftone::api {

// Numbers of samples that a step of `samples` can be dealt in without a remainder, the largest first: itself, its
// divisors that are multiples of 8 or powers of two.
std::vector<int64_t> batches_of(int64_t samples);

// --effective-batch becomes --accumulate, and --batch auto (0) the largest batch that fits into memory, planned and not
// tried; says what it chose. Error (usage): they do not go together; (resources) not even one sample fits.
void decide_batches(TrainOptions& options, const Log& log);
// The same, once check_training_options has nothing against them.
void check_and_decide_batches(TrainOptions& options, const Log& log);

}  // namespace halftone::api
