// Every file of operators, by the function that returns its definitions. Alphabetical.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

const OpFamily& attention_family();
const OpFamily& batch_normalization_family();
const OpFamily& binary_family();
const OpFamily& cast_family();
const OpFamily& class_loss_family();
const OpFamily& col2im_family();
const OpFamily& concat_family();
const OpFamily& constant_folding_family();
const OpFamily& conv_family();
const OpFamily& conv_import_family();
const OpFamily& cum_sum_family();
const OpFamily& depth_to_space_family();
const OpFamily& dft_family();
const OpFamily& dropout_family();
const OpFamily& einsum_family();
const OpFamily& expand_family();
const OpFamily& extreme_family();
const OpFamily& fused_attention_family();
const OpFamily& fused_family();
const OpFamily& gather_family();
const OpFamily& grid_sample_family();
const OpFamily& group_normalization_family();
const OpFamily& layer_normalization_family();
const OpFamily& loss_family();
const OpFamily& lrn_family();
const OpFamily& matmul_family();
const OpFamily& max_unpool_family();
const OpFamily& one_hot_family();
const OpFamily& optimizer_family();
const OpFamily& pad_family();
const OpFamily& pool_family();
const OpFamily& pool_import_family();
const OpFamily& recurrent_family();
const OpFamily& reduce_family();
const OpFamily& resample_family();
const OpFamily& reshape_family();
const OpFamily& resize_family();
const OpFamily& reverse_sequence_family();
const OpFamily& rotary_embedding_family();
const OpFamily& row_reduction_family();
const OpFamily& rows_family();
const OpFamily& scatter_family();
const OpFamily& selection_family();
const OpFamily& slice_family();
const OpFamily& softmax_family();
const OpFamily& tensor_scatter_family();
const OpFamily& tile_family();
const OpFamily& transpose_family();
const OpFamily& trilu_family();
const OpFamily& unary_family();
const OpFamily& where_family();
const OpFamily& whole_family();
const OpFamily& window_family();

}  // namespace halftone::ops
