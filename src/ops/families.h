// Every file of operators, by the function that returns its definitions. Alphabetical.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

const OpFamily& batch_normalization_family();
const OpFamily& binary_family();
const OpFamily& cast_family();
const OpFamily& concat_family();
const OpFamily& constant_folding_family();
const OpFamily& conv_family();
const OpFamily& dropout_family();
const OpFamily& expand_family();
const OpFamily& loss_family();
const OpFamily& matmul_family();
const OpFamily& optimizer_family();
const OpFamily& pad_family();
const OpFamily& pool_family();
const OpFamily& reduce_family();
const OpFamily& reshape_family();
const OpFamily& row_reduction_family();
const OpFamily& slice_family();
const OpFamily& softmax_family();
const OpFamily& transpose_family();
const OpFamily& unary_family();

}  // namespace halftone::ops
