// The kernels of one build, by subject; kernels.cpp puts them into the table. The contracts are those of
// kern/kernels.h.
#pragma once

#include "kern/kernels.h"

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
// Of the same build's sources normalization.cpp, index.cpp and sampling.cpp.
const NormalizationKernels& normalization_kernels();
const IndexKernels& index_kernels();
const SamplingKernels& sampling_kernels();

}  // namespace halftone::kern::HALFTONE_KERN_NS
