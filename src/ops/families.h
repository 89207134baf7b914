// Every file of operators, by the function that returns its definitions. Alphabetical.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

const OpFamily& batch_normalization_family();
const OpFamily& conv_family();
const OpFamily& loss_family();
const OpFamily& matmul_family();
const OpFamily& optimizer_family();
const OpFamily& reshape_family();
const OpFamily& transpose_family();

}  // namespace halftone::ops
