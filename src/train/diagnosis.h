// What a value that is not finite means, and what helps: the words of every numerical error.
#pragma once

#include <string>

#include "exec/program.h"
#include "num/dtype.h"

namespace halftone::train {

// Where the first value that is not finite stands in a step.
enum class Stage {
  kTensor,    // a weight, a statistic, optimizer state: the training has diverged
  kSample,    // the batch itself
  kForward,   // an activation or the loss: a loss scale does not reach there
  kBackward,  // a gradient
};
// loss: the value that the loss node writes; kNone for graphs without one.
Stage stage_of(const exec::NonFinite& bad, const ir::Graph& graph, ir::ValueId loss);

// "tensor h of node fc1 (Gemm)", "the weight fc1.weight".
std::string describe(const exec::NonFinite& bad);

// What to try. `training`: whether optimizer steps are taken (evaluation has neither a rate nor a loss scale).
// `trained`: whether some were, so that the weights are no longer the file's. loss_scale: with which gradients are computed.
std::string remedy(Stage stage, DType storage, bool training, bool trained, double loss_scale);

}  // namespace halftone::train
