#include "kern/lane/table.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {

namespace {

constexpr NormalizationKernels kNormalization = {
    .normalize = normalize,
    .normalize_grad = normalize_grad,
    .normalize_grad_columns = normalize_grad_columns,
    .lrn = lrn,
    .lrn_grad = lrn_grad,
};

constexpr SamplingKernels kSampling = {
    .weighted_rows = weighted_rows,
    .grid_sample = grid_sample,
    .grid_sample_grad = grid_sample_grad,
    .grid_sample_grid_grad = grid_sample_grid_grad,
};

}  // namespace

const Kernels& kernels() {
  static const Kernels table = {
      .unary = unary,
      .unary_grad = unary_grad,
      .binary = binary,
      .convert = convert,
      .accumulate = accumulate,
      .dropout = dropout,
      .copy = copy,
      .fill = fill,
      .reduce_rows = reduce_rows,
      .sum_columns = sum_columns,
      .norm = norm,
      .squared_deviation = squared_deviation,
      .channel_affine = channel_affine,
      .channel_grad_sums = channel_grad_sums,
      .channel_affine_pair = channel_affine_pair,
      .max_pool = max_pool,
      .max_pool_grad = max_pool_grad,
      .average_pool = average_pool,
      .average_pool_grad = average_pool_grad,
      .softmax = softmax,
      .softmax_grad = softmax_grad,
      .cross_entropy = cross_entropy,
      .pointwise_loss = pointwise_loss,
      .optimizer = optimizer,
      .normalization = &kNormalization,
      .index = &index_kernels(),
      .sampling = &kSampling,
      .matrix = matrix_kernels(),
  };
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
