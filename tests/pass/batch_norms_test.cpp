#include "pass/batch_norms.h"

#include <gtest/gtest.h>

#include <cmath>

namespace halftone::pass {
namespace {

TEST(FoldedBatchNorms, AreRecognisedByTheNamesThatExportersGive) {
  EXPECT_TRUE(looks_folded({"/conv1/Conv", "onnx::Conv_253", "onnx::Conv_254"}));
  EXPECT_TRUE(looks_folded({"node_Conv_369", "conv1.weight", "conv1.weight_bias"}));
  EXPECT_FALSE(looks_folded({"/features/features.0/Conv", "features.0.weight", "features.0.bias"}));
}

TEST(FoldedBatchNorms, RestoringAndFoldingAgainGivesTheSameConvolution) {
  Tensor weight(DType::kF32, {3, 2, 1, 1});
  Tensor bias(DType::kF32, {3});
  const float w[] = {0.5F, -2.0F, 1e-3F, 3e-3F, 0.0F, 0.0F};  // the last channel is dead
  for (size_t i = 0; i < 6; ++i) weight.as<float>()[i] = w[i];
  const float b[] = {0.25F, -1.0F, 2.0F};
  for (size_t i = 0; i < 3; ++i) bias.as<float>()[i] = b[i];
  ChannelMoments moments;
  moments.count = 100;
  moments.sum = {30, -95, 200};
  moments.sum_squares = {100, 90.25 + 0.001, 400};  // variances about 0.91, 1e-5 and 0
  const FoldedConvolution convolution{"conv", "w", "b"};
  RestoredBatchNorms restored;
  restored.by_weight.emplace("w", restore(convolution, weight, bias, moments));
  const RestoredBatchNorm& r = restored.by_weight.at("w");
  const Tensor trained = scaled(weight, r.factor);
  EXPECT_NEAR(std::hypot(trained.as<float>()[0], trained.as<float>()[1]), RestoredBatchNorms::kWeightNorm,
              1e-6);
  EXPECT_NEAR(std::hypot(trained.as<float>()[2], trained.as<float>()[3]), RestoredBatchNorms::kWeightNorm,
              1e-6);
  EXPECT_EQ(trained.as<float>()[4], 0);

  std::map<std::string, Tensor> tensors;
  tensors.emplace("w", trained.clone());
  tensors.emplace("w#bn_scale", r.scale.clone());
  tensors.emplace("w#bn_shift", r.shift.clone());
  tensors.emplace("w#bn_mean", r.mean.clone());
  tensors.emplace("w#bn_variance", r.variance.clone());
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  ASSERT_EQ(folded_names(names, restored), (std::vector<std::string>{"b", "w"}));
  const TensorOf trained_of = [&](const std::string& name) { return tensors.at(name).clone(); };
  const Tensor folded_weight = folded_tensor("w", restored, trained_of);
  const Tensor folded_bias = folded_tensor("b", restored, trained_of);
  // Five roundings to fp32 on the way (weight, scale, variance, mean, and back), each relative to the largest
  // number involved.
  for (size_t i = 0; i < 6; ++i)
    EXPECT_NEAR(folded_weight.as<float>()[i], w[i], 8 * 0x1p-24 * std::abs(w[i]));
  for (size_t i = 0; i < 3; ++i)
    EXPECT_NEAR(folded_bias.as<float>()[i], b[i], 8 * 0x1p-24 * (std::abs(b[i]) + 2.0));
}

}  // namespace
}  // namespace halftone::pass
