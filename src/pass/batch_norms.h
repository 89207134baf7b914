// Batch norms that an exporter folded into convolutions: put back for training, folded again for writing
// (docs/numerics.md). The function of the network stays the same; what changes is how a step of the optimizer
// acts on it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ops/op.h"

namespace halftone::pass {

// A convolution with a trained bias and without a batch norm behind it.
struct FoldedConvolution {
  std::string node;  // ONNX node
  std::string weight, bias;
};
std::vector<FoldedConvolution> convolutions_without_batch_norm(const ir::Graph& imported);

// Whether the names show that an exporter made these tensors by folding (onnx::Conv_253 and the like), so
// that a batch norm was there.
bool looks_folded(const FoldedConvolution& convolution);

// What the restored batch norm of one convolution starts from. Channels are the convolution's output
// channels.
struct RestoredBatchNorm {
  FoldedConvolution convolution;
  std::vector<double> factor;  // [O]: what scales each output channel of the weight to norm kWeightNorm
  Tensor scale, shift;         // fp32 [O]
  Tensor mean, variance;       // fp32 [O]: running statistics of the scaled convolution without its bias
};
struct RestoredBatchNorms {
  std::map<std::string, RestoredBatchNorm> by_weight;
  // What each output channel's weights are scaled to. A batch norm takes any scale back, but an optimizer's
  // step counts in proportion to 1 / norm^2. He's initialisation gives sqrt(2); training makes it grow: 1.1
  // to 2.2 in the layers of a trained ResNet-20 (docs/decisions/0007).
  static constexpr double kWeightNorm = 2.0;
  static constexpr double kEpsilon = 1e-5;
  static constexpr double kMomentum = 0.9;
};

// Sums of a convolution's output over samples, per channel.
struct ChannelMoments {
  std::vector<double> sum, sum_squares;
  int64_t count = 0;
};
// From the moments of the convolution's output (bias included) as the file has it.
RestoredBatchNorm restore(const FoldedConvolution& convolution, const Tensor& weight, const Tensor& bias,
                          const ChannelMoments& moments);

// The weight [O, ...] with each output channel times its factor, fp32.
Tensor scaled(const Tensor& weight, const std::vector<double>& factor);

// In an imported graph (before layout passes): each listed convolution loses its bias and gains a batch norm.
// Names of the new tensors: <weight>#bn_scale, #bn_shift, #bn_mean, #bn_variance.
void insert_batch_norms(ir::Graph& imported, DType storage, ops::Mode mode, ops::BatchNormMode batch_norm,
                        const RestoredBatchNorms& restored);

// For writing: the restored batch norms folded into weight and bias again, in fp64 arithmetic.
using TensorOf = std::function<Tensor(const std::string& name)>;
// The trained network's names without those of restored batch norms, and with the biases.
std::vector<std::string> folded_names(const std::vector<std::string>& names,
                                      const RestoredBatchNorms& restored);
// One of them; `trained` gives the trained network's tensors.
Tensor folded_tensor(const std::string& name, const RestoredBatchNorms& restored, const TensorOf& trained);

}  // namespace halftone::pass
