// Weights that can have adapters, the graph with them, and the merged weight.
#include "onnx/adapters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"
#include "build_model.h"
#include "onnx/import.h"
#include "onnx/roles.h"

namespace halftone::onnx {
namespace {

using test::Attr;
using test::error_of;
using test::floats;
using test::ModelBuilder;
using test::TensorProto;

std::vector<float> ramp(int64_t count) {
  std::vector<float> x;
  for (int64_t i = 0; i < count; ++i) x.push_back(static_cast<float>(i * 7 % 11) / 8 - 0.5F);
  return x;
}

Model model_of(const ModelBuilder& b) {
  return Model::parse(b.bytes(), "net.onnx");
}

const AdaptedWeight& weight_of(const std::vector<AdaptedWeight>& all, const std::string& name) {
  for (const AdaptedWeight& w : all)
    if (w.weight == name) return w;
  ADD_FAILURE() << "no weight " << name;
  return all.at(0);
}

// Every way in which a layer stores its weight, with an output "y" of [N, 3].
ModelBuilder every_kind() {
  ModelBuilder b;
  b.input("x", {"N", "4"}).output("y", {"N", "3"});
  b.initializer(floats("enc.query.weight", {4, 6}, ramp(24)));
  b.node("MatMul", {"x", "enc.query.weight"}, {"q"});
  b.initializer(floats("enc.key.weight", {5, 6}, ramp(30)));
  b.node("Gemm", {"q", "enc.key.weight"}, {"k"}, {{"transB", 1}});
  b.initializer(floats("onnx::MatMul_7", {5, 4}, ramp(20)));
  b.node("MatMul", {"k", "onnx::MatMul_7"}, {"v"}, {}, "/enc/enc.0/value/MatMul");
  b.initializer(floats("out.weight", {3, 4}, ramp(12)));
  b.node("Transpose", {"out.weight"}, {"out_t"}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.node("Identity", {"out_t"}, {"out_i"});
  b.node("MatMul", {"v", "out_i"}, {"y"});
  return b;
}

TEST(AdaptedWeights, KnowTheirSizesAndModulesHoweverTheyAreStored) {
  const Model model = model_of(every_kind());
  const std::vector<AdaptedWeight> all = weights_of_products(model);
  ASSERT_EQ(all.size(), 4U);
  struct Expected {
    std::string weight, module;
    bool outputs_first;
    int64_t inputs, outputs;
  };
  for (const Expected& e :
       {Expected{"enc.query.weight", "enc.query", false, 4, 6},
        Expected{"enc.key.weight", "enc.key", true, 6, 5},
        Expected{"onnx::MatMul_7", "enc.0.value", false, 5, 4}, Expected{"out.weight", "out", true, 4, 3}}) {
    const AdaptedWeight& w = weight_of(all, e.weight);
    EXPECT_EQ(w.reason, "");
    EXPECT_EQ(w.module, e.module);
    EXPECT_EQ(w.outputs_first, e.outputs_first) << e.weight;
    EXPECT_EQ(w.inputs, e.inputs) << e.weight;
    EXPECT_EQ(w.outputs, e.outputs) << e.weight;
  }
}

TEST(AdaptedWeights, HaveTheModuleOfTheirBiasWhereTheirOwnNameIsLost) {
  ModelBuilder b;
  b.input("x", {"N", "2", "4"}).output("y", {"N", "2", "4"});
  for (const char* name : {"onnx::MatMul_1", "onnx::MatMul_2", "val_3"})
    b.initializer(floats(name, {4, 4}, ramp(16)));
  for (const char* name : {"layer.0.up.bias", "layer.1.up.bias", "shift.bias"})
    b.initializer(floats(name, {4}, ramp(4)));
  b.node("MatMul", {"x", "onnx::MatMul_1"}, {"a"}, {}, "/up/MatMul")
      .node("Add", {"layer.0.up.bias", "a"}, {"b"});
  b.node("MatMul", {"b", "onnx::MatMul_2"}, {"c"}, {}, "/up_1/MatMul")
      .node("Add", {"c", "layer.1.up.bias"}, {"d"});
  // Another module's bias.
  b.node("MatMul", {"d", "val_3"}, {"e"}, {}, "/down/MatMul").node("Add", {"e", "shift.bias"}, {"y"});
  const std::vector<AdaptedWeight> all = weights_of_products(model_of(b));
  EXPECT_EQ(weight_of(all, "onnx::MatMul_1").module, "layer.0.up");
  EXPECT_EQ(weight_of(all, "onnx::MatMul_2").module, "layer.1.up");
  EXPECT_EQ(weight_of(all, "val_3").module, "down");
}

TEST(AdaptedWeights, MayHaveTheirShapeRead) {
  ModelBuilder b = every_kind();
  b.node("Shape", {"enc.query.weight"}, {"s"});
  b.output("s", {"2"}, TensorProto::INT64);
  EXPECT_EQ(weight_of(weights_of_products(model_of(b)), "enc.query.weight").reason, "");
}

TEST(AdaptedWeights, SayWhyTheyCanHaveNoAdapter) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).input("ids", {"N", "4"}, TensorProto::INT64).output("y", {"N", "4", "4"});
  b.initializer(floats("tied", {9, 4}, ramp(36)));
  b.node("Gather", {"tied", "ids"}, {"e"});
  b.node("Transpose", {"tied"}, {"tied_t"});
  b.node("MatMul", {"e", "tied_t"}, {"logits"});
  b.initializer(floats("deep", {1, 9, 4}, ramp(36)));
  b.node("MatMul", {"logits", "deep"}, {"d"});
  b.initializer(floats("left", {4, 4}, ramp(16)));
  b.node("MatMul", {"left", "d"}, {"l"});
  b.initializer(floats("half", {4, 4}, ramp(16))).initializer(floats("two", {1}, {2}));
  b.node("Mul", {"half", "two"}, {"whole"});
  b.node("MatMul", {"l", "whole"}, {"m"});
  b.initializer(floats("both", {4, 4}, ramp(16)));
  b.node("MatMul", {"m", "both"}, {"n"}).node("Transpose", {"both"}, {"both_t"});
  b.node("MatMul", {"n", "both_t"}, {"y"});
  const std::vector<AdaptedWeight> all = weights_of_products(model_of(b));
  const auto expect = [&](const std::string& name, const std::string& part) {
    const std::string reason = weight_of(all, name).reason;
    EXPECT_NE(reason.find(part), std::string::npos) << name << ": " << reason;
  };
  expect("tied", "Gather '/e/Gather' reads it too");
  expect("deep", "expected a matrix");
  expect("left", "left operand");
  expect("half", "computed by Mul");
  expect("both", "in different ways");
}

TEST(AdaptedWeights, OfConvolutionsOfOneGroup) {
  ModelBuilder b;
  b.input("x", {"N", "2", "5", "5"}).output("y", {"N", "4", "2", "2"});
  b.initializer(floats("c1.weight", {4, 2, 3, 3}, ramp(72)));
  b.node("Conv", {"x", "c1.weight"}, {"a"}, {{"strides", std::vector<int64_t>{2, 2}}});
  b.initializer(floats("c2.weight", {4, 1, 1, 1}, ramp(4)));
  b.node("Conv", {"a", "c2.weight"}, {"g"}, {{"group", 4}});
  b.initializer(floats("c3.weight", {4, 4, 1, 1}, ramp(16)));
  b.node("Conv", {"g", "c3.weight"}, {"h"});
  b.node("Relu", {"h"}, {"y"});
  const Model model = model_of(b);
  const std::vector<AdaptedWeight> all = weights_of_products(model);
  EXPECT_EQ(weight_of(all, "c1.weight").fan_in(), 18);
  EXPECT_FALSE(weight_of(all, "c1.weight").is_pointwise());
  EXPECT_NE(weight_of(all, "c2.weight").reason.find("4 groups"), std::string::npos);
  EXPECT_TRUE(weight_of(all, "c3.weight").is_pointwise());
  // The last layer is c3, so nothing is left by default; a target names what it wants.
  EXPECT_NE(error_of([&] {
              adapters_of(model, {2, 4, 0, {}}, {"y"});
            }).find("before the last layer"),
            std::string::npos);
  const Adapters named = adapters_of(model, {2, 4, 0, {"c*"}}, {"y"});
  ASSERT_EQ(named.weights.size(), 2U);
  ASSERT_EQ(named.left_out.size(), 1U);
  EXPECT_NE(named.left_out[0].find("c2.weight"), std::string::npos);
}

TEST(Adapters, AreAllWeightsButTheLastLayersByDefault) {
  const Adapters a = adapters_of(model_of(every_kind()), {2, 4, 0, {}}, {"y"});
  ASSERT_EQ(a.weights.size(), 3U);
  for (const AdaptedWeight& w : a.weights) EXPECT_NE(w.weight, "out.weight");
}

TEST(Adapters, TakeTargetsByModuleByItsEndAndByTensor) {
  const Model model = model_of(every_kind());
  const auto count = [&](const std::vector<std::string>& targets) {
    return adapters_of(model, {2, 4, 0, targets}, {"y"}).weights.size();
  };
  EXPECT_EQ(count({"query"}), 1U);
  EXPECT_EQ(count({"enc.query"}), 1U);
  EXPECT_EQ(count({"enc.query.weight"}), 1U);
  EXPECT_EQ(count({"onnx::MatMul_7"}), 1U);
  EXPECT_EQ(count({"enc.*"}), 3U);
  EXPECT_EQ(count({"query", "out"}), 2U);
  const auto message = [&](const std::string& target) {
    return error_of([&] { adapters_of(model, {2, 4, 0, {target}}, {"y"}); });
  };
  EXPECT_NE(message("uery").find("matches no weight"), std::string::npos);
  EXPECT_NE(message("querry").find("'enc.query'"), std::string::npos) << message("querry");
}

TEST(Adapters, AreDrawnLikeALinearLayersAndBeginAtZero) {
  const Model model = model_of(every_kind());
  const Adapters adapters = adapters_of(model, {2, 4, 0, {}}, {"y"});
  const Model with = with_adapters(model, adapters, 7);
  for (const AdaptedWeight& w : adapters.weights) {
    EXPECT_EQ(with.find_tensor(w.a())->shape, (Shape{w.inputs, 2}));
    EXPECT_EQ(with.find_tensor(w.b())->shape, (Shape{2, w.outputs}));
    const Tensor a = with.tensor(w.a());
    std::set<float> seen;
    for (const float x : a.as<float>()) {
      EXPECT_LE(std::abs(x), 1 / std::sqrt(static_cast<double>(w.inputs)));
      seen.insert(x);
    }
    EXPECT_EQ(static_cast<int64_t>(seen.size()), a.size());
    const Tensor b = with.tensor(w.b());
    for (const float x : b.as<float>()) EXPECT_EQ(x, 0);
  }
  EXPECT_EQ(model.find_tensor(adapters.weights[0].a()), nullptr);
  // Sound, and the adapters are parameters like any others.
  ImportOptions o;
  o.batch = 2;
  EXPECT_GT(import(with, o).nodes.size(), import(model, o).nodes.size());
  const auto roles =
      tensor_roles(with, {{adapters.weights[0].a(), adapters.weights[0].b()}, {"*"}, "--lora"});
  EXPECT_EQ(roles.at(adapters.weights[0].b()), Role::kParameter);
  for (const TensorRole& r : roles_of(with, {{adapters.weights[0].a()}, {"*"}, "--lora"})) {
    if (r.name == "enc.query.weight") {
      EXPECT_EQ(r.reason, "--lora keeps the network as it is");
    } else if (r.name == adapters.weights[0].a()) {
      EXPECT_EQ(r.role, Role::kParameter);
    }
  }
}

TEST(Adapters, MergeIntoTheWeightsOwnShape) {
  AdaptedWeight w;
  w.inputs = 3;
  w.outputs = 2;
  Tensor a(DType::kF32, {1, 3});
  Tensor b(DType::kF32, {2, 1});
  for (int i = 0; i < 3; ++i) a.as<float>()[static_cast<size_t>(i)] = static_cast<float>(i + 1);
  b.as<float>()[0] = 10;
  b.as<float>()[1] = 100;
  for (const bool outputs_first : {false, true}) {
    w.outputs_first = outputs_first;
    Tensor weight(DType::kF32, outputs_first ? Shape{2, 3} : Shape{3, 2});
    std::fill(weight.as<float>().begin(), weight.as<float>().end(), 0.5F);
    const Tensor m = merged(w, weight, a, b, 2);
    EXPECT_EQ(m.shape(), weight.shape());
    for (int64_t o = 0; o < 2; ++o)
      for (int64_t i = 0; i < 3; ++i) {
        const auto at = static_cast<size_t>(outputs_first ? o * 3 + i : i * 2 + o);
        EXPECT_EQ(m.as<double>()[at], 0.5 + 2.0 * static_cast<double>(i + 1) * (o == 0 ? 10 : 100));
      }
  }
}

}  // namespace
}  // namespace halftone::onnx
