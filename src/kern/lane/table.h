// The kernels of one build, by subject; kernels.cpp puts them into the table. The contracts are those of
// kern/kernels.h.
#pragma once

#include "kern/kernels.h"
#include "kern/normalization.h"
#include "kern/sampling.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void unary(const UnaryArgs& a) noexcept;
void unary_grad(const UnaryGradArgs& a) noexcept;
void binary(const BinaryArgs& a) noexcept;
void convert(const ConvertArgs& a) noexcept;
void accumulate(const AccumulateArgs& a) noexcept;
void dropout(const DropoutArgs& a) noexcept;
void copy(const CopyArgs& a) noexcept;
void fill(const FillArgs& a) noexcept;
void reduce_rows(const ReduceRowsArgs& a) noexcept;
void sum_columns(const SumColumnsArgs& a) noexcept;
void norm(const NormArgs& a) noexcept;
void squared_deviation(const SquaredDeviationArgs& a) noexcept;
void channel_affine(const ChannelAffineArgs& a) noexcept;
void channel_grad_sums(const ChannelGradSumsArgs& a) noexcept;
void channel_affine_pair(const ChannelAffinePairArgs& a) noexcept;
void max_pool(const PoolArgs& a) noexcept;
void max_pool_grad(const PoolGradArgs& a) noexcept;
void average_pool(const PoolArgs& a) noexcept;
void average_pool_grad(const PoolGradArgs& a) noexcept;
void softmax(const SoftmaxArgs& a) noexcept;
void softmax_grad(const SoftmaxGradArgs& a) noexcept;
void cross_entropy(const CrossEntropyArgs& a) noexcept;
void pointwise_loss(const PointwiseLossArgs& a) noexcept;
void optimizer(const OptimizerArgs& a) noexcept;
void normalize(const NormalizeArgs& a) noexcept;
void normalize_grad(const NormalizeGradArgs& a) noexcept;
void normalize_grad_columns(const NormalizeGradColumnsArgs& a) noexcept;
void lrn(const LrnArgs& a) noexcept;
void lrn_grad(const LrnArgs& a) noexcept;
void weighted_rows(const WeightedRowsArgs& a) noexcept;
void grid_sample(const GridSampleArgs& a) noexcept;
void grid_sample_grad(const GridSampleGradArgs& a) noexcept;
void grid_sample_grid_grad(const GridSampleGridGradArgs& a) noexcept;
// index.cpp's: lane/index.h names its kernels, of which most builds take ref_fma's.
const IndexKernels& index_kernels();

}  // namespace halftone::kern::HALFTONE_KERN_NS
