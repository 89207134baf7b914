#include "pass/batch_norms.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::ValueId;

// Convolutions one behind the other, as an imported graph has them: weights behind a Transpose.
struct Convolutions {
  ir::Graph graph;
  ops::Builder b{graph, DType::kF32};
  ValueId x = value("x", ir::ValueKind::kInput, {1, 4, 4, 2});

  ValueId value(const std::string& name, ir::ValueKind kind, const Shape& shape) {
    ir::Value v;
    v.name = name;
    v.kind = kind;
    v.type = {DType::kF32, shape};
    return graph.add_value(std::move(v));
  }
  ValueId weight(const std::string& name) { return value(name, ir::ValueKind::kParameter, {2, 2, 1, 1}); }
  ValueId channels(const std::string& name, ir::ValueKind kind = ir::ValueKind::kParameter) {
    return value(name, kind, {2});
  }
  void conv(const std::string& name, ValueId w, ValueId bias) {
    b.set_origin(name);
    x = b.add1("Conv", {x, b.transpose(w, channels_last(4)), bias},
               {{"pads", std::vector<int64_t>(4, 0)},
                {"strides", std::vector<int64_t>(2, 1)},
                {"dilations", std::vector<int64_t>(2, 1)},
                {"group", int64_t{1}}});
  }
  // Their nodes, weights and biases.
  std::string found() const {
    std::string out;
    for (const FoldedConvolution& c : convolutions_without_batch_norm(graph))
      out += c.node + " " + c.weight + " " + c.bias + ", ";
    return out;
  }
};

TEST(FoldedBatchNorms, AreLookedForAtConvolutionsWithABias) {
  Convolutions c;
  c.conv("first", c.weight("w"), c.channels("b"));
  c.conv("no bias", c.weight("w2"), kNone);
  c.conv("constant bias", c.weight("w3"), c.b.constant(Tensor(DType::kF32, {2}), "zero"));
  c.conv("normed", c.weight("w4"), c.channels("b4"));
  c.x = c.b.add1("BatchNormalization",
                 {c.b.transpose(c.b.transpose(c.x, {0, 3, 1, 2}), {0, 2, 3, 1}), c.channels("scale"),
                  c.channels("shift"), c.channels("mean", ir::ValueKind::kState),
                  c.channels("var", ir::ValueKind::kState)});
  c.conv("last", c.weight("w5"), c.channels("b5"));
  EXPECT_EQ(c.found(), "first w b, last w5 b5, ");
}

TEST(FoldedBatchNorms, SharedWeightsAreNoCandidates) {
  Convolutions c;
  const ValueId w = c.weight("w");
  c.conv("first", w, c.channels("a"));
  c.conv("second", w, c.channels("b"));
  EXPECT_EQ(c.found(), "");
  c.conv("third", c.weight("u"), c.channels("c"));
  EXPECT_EQ(c.found(), "third u c, ");
}

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
