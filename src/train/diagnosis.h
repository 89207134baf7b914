// What a value that is not finite means, and what helps: the words of every numerical error.
#pragma once

#include <string>
#include <vector>

#include "exec/program.h"
#include "num/dtype.h"

namespace halftone::train {

// Where the first value that is not finite stands in a step.
enum class Stage {
  kTensor,    // a weight, a statistic, optimizer state: the training has diverged
  kSample,    // the batch itself
  kForward,   // an activation: a loss scale does not reach there
  kLoss,      // the loss, of outputs that are finite
  kBackward,  // a gradient
};
// losses: the values that the loss nodes write; none for graphs without them.
Stage stage_of(const exec::NonFinite& bad, const ir::Graph& graph, const std::vector<ir::ValueId>& losses);

// "tensor h of node fc1 (Gemm)", "the weight fc1.weight".
std::string describe(const exec::NonFinite& bad);

// The run in which it happened, for what helps there.
struct Circumstances {
  DType storage = DType::kF32;
  bool training = false;   // optimizer steps are taken: evaluation has neither a rate nor a loss scale
  bool trained = false;    // some were, so that the weights are no longer the file's
  double loss_scale = 1;   // with which gradients are computed
  bool automatic = false;  // and which halves by itself
  bool prepares = true;    // samples are prepared by --normalize, --mean and --std
};
// What to try.
std::string remedy(Stage stage, const Circumstances& where);

}  // namespace halftone::train
