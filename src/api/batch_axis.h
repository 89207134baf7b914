// Whether the network's first axis is the samples'.
#pragma once

#include "api/session.h"

namespace halftone::api {

// A warning when a sample's result depends on the other samples of its batch: the batch is another axis than
// the first, or a node computes over it (a mean over all samples, say). Networks whose nodes cannot do that
// are not looked at; of others the first samples are evaluated in two places, in fp32. `fixed_batch`: the
// only one that the network takes; 0: any.
void warn_of_mixed_samples(const onnx::Model& model, const Data& data, const DataOptions& options,
                           int64_t fixed_batch, const Log& log);

}  // namespace halftone::api
