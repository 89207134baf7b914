// Losses that were measured in fp16 are held against fp32's. An activation beyond 65504 can leave a loss that
// is finite and wrong (a quotient by an infinite variance is 0), and the check before the first step sees few
// samples only.
#pragma once

#include <string>
#include <vector>

#include "api/precision.h"

namespace halftone::api {

struct FiguresCheck {
  int64_t samples = 0;  // that were compared
  std::string finding;  // empty: no tensor overflowed where it matters
  int64_t planned_bytes = 0;
};

// scores: of each batch of an evaluation of `subject` in its order, with the samples' losses. Evaluates the
// same samples in fp32, no further batch after `seconds`, and looks for an overflow where they differ most.
// explained: a difference of losses that rounding explains. Does nothing for other types than fp16, which
// have fp32's range.
FiguresCheck check_figures(const PrecisionSubject& subject, const std::vector<train::Score>& scores,
                           const NetworkOptions& options, const DataOptions& data_options, double explained,
                           double seconds);

}  // namespace halftone::api
