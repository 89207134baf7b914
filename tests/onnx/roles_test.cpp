#include "onnx/roles.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "build_model.h"
#include "onnx/folded.h"
#include "onnx/pytorch_names.h"

namespace halftone::onnx {
namespace {

using test::Attr;
using test::floats;
using test::int64s;
using test::ModelBuilder;

using Names = std::vector<std::string>;

Names named(const Model& m, Role role) {
  Names out;
  for (const auto& [name, r] : tensor_roles(m))
    if (r == role) out.push_back(name);
  return out;
}
Names parameters(const ModelBuilder& b) {
  return named(Model::parse(b.bytes(), "net.onnx"), Role::kParameter);
}
Names states(const ModelBuilder& b) {
  return named(Model::parse(b.bytes(), "net.onnx"), Role::kState);
}
Model fixture(const std::string& name) {
  return Model::load(std::string(HALFTONE_TESTS_DIR) + "/fixtures/models/" + name);
}

const test::TensorProto kFour = floats("", {2, 2}, {1, 2, 3, 4});
test::TensorProto four(const std::string& name, std::vector<int64_t> dims = {2, 2}) {
  return floats(name, dims, {1, 2, 3, 4});
}
test::TensorProto two(const std::string& name) {
  return floats(name, {2}, {1, 2});
}

TEST(Roles, SlotsThatAnOperatorTrains) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  b.initializer(four("w")).initializer(two("bias")).initializer(four("m"));
  b.node("Constant", {}, {"c"}, {{"value", kFour}});
  b.node("Gemm", {"x", "w", "bias"}, {"a"})
      .node("MatMul", {"a", "m"}, {"b"})
      .node("MatMul", {"b", "c"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"bias", "c", "m", "w"}));
}

TEST(Roles, StatisticsAreStates) {
  ModelBuilder b;
  b.input("x", {"N", "2", "4", "4"}).open_output("y");
  for (const char* name : {"scale", "shift", "mean", "var"}) b.initializer(two(name));
  b.node("Identity", {"var"}, {"var2"})
      .node("BatchNormalization", {"x", "scale", "shift", "mean", "var2"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"scale", "shift"}));
  EXPECT_EQ(states(b), (Names{"mean", "var"}));
}

TEST(Roles, ArithmeticTrainsOnlyAfterAParameter) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  b.initializer(two("input_mean"))
      .initializer(four("w"))
      .initializer(two("bias"))
      .initializer(floats("half", {1}, {0.5F}));
  b.initializer(two("scale")).initializer(int64s("shape", {1, 2})).initializer(two("unrelated"));
  b.node("Sub", {"x", "input_mean"}, {"normal"})
      .node("MatMul", {"normal", "w"}, {"a"})
      .node("Add", {"bias", "a"}, {"b"});
  b.node("Mul", {"b", "half"}, {"c"})
      .node("Reshape", {"scale", "shape"}, {"wide"})
      .node("Mul", {"c", "wide"}, {"d"});
  b.node("Pow", {"d", "unrelated"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"bias", "scale", "w"}));
}

TEST(Roles, WeightsBehindOtherNodesAreTrained) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  b.initializer(four("stored"))
      .initializer(four("v"))
      .initializer(two("g"))
      .initializer(floats("eps", {1}, {1e-5F}));
  b.node("Transpose", {"stored"}, {"w"}).node("MatMul", {"x", "w"}, {"a"});
  // Weight normalisation: v * g / (|v| + eps).
  b.node("Mul", {"v", "g"}, {"vg"}).node("Add", {"v", "eps"}, {"norm"}).node("Div", {"vg", "norm"}, {"w2"});
  b.node("MatMul", {"a", "w2"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"g", "stored", "v"}));
}

TEST(Roles, AResNetsParametersAndStates) {
  const Model m = fixture("resnet20-cifar10.onnx");
  EXPECT_EQ(named(m, Role::kParameter).size(), 19U + 2 * 19 + 2);
  EXPECT_EQ(named(m, Role::kState).size(), 2U * 19);
  const Model folded = fixture("resnet20-cifar10-bnfolded.onnx");
  EXPECT_EQ(named(folded, Role::kParameter).size(), 2U * 19 + 2);
  EXPECT_EQ(named(folded, Role::kState).size(), 0U);
}

TEST(Folded, FindsConvolutionsWithoutABatchNorm) {
  EXPECT_TRUE(folded_convolutions(fixture("resnet20-cifar10.onnx")).empty());
  const std::vector<FoldedConvolution> found = folded_convolutions(fixture("resnet20-cifar10-bnfolded.onnx"));
  ASSERT_EQ(found.size(), 19U);
  EXPECT_EQ(found[0].node, "/conv1/Conv");
  EXPECT_EQ(found[0].weight, "onnx::Conv_253");
  EXPECT_EQ(found[0].bias, "onnx::Conv_254");
  EXPECT_EQ(found[0].output, "/conv1/Conv_output_0");
}

TEST(Folded, SharedWeightsAreNoCandidates) {
  ModelBuilder b;
  b.input("x", {"N", "2", "4", "4"})
      .open_output("y")
      .initializer(four("w", {2, 2, 1, 1}))
      .initializer(two("a"))
      .initializer(two("b"));
  b.node("Conv", {"x", "w", "a"}, {"c"}).node("Conv", {"c", "w", "b"}, {"y"});
  EXPECT_TRUE(folded_convolutions(Model::parse(b.bytes(), "net.onnx")).empty());
}

TEST(PytorchNames, ModulePathsOfNodeNames) {
  EXPECT_EQ(module_path("/layer1/layer1.0/conv1/Conv"), "layer1.0.conv1");
  EXPECT_EQ(module_path("/layer2/layer2.0/downsample/downsample.0/Conv"), "layer2.0.downsample.0");
  EXPECT_EQ(module_path("/features/features.0/features.0.1/Conv_1"), "features.0.1");
  EXPECT_EQ(module_path("/conv1/Conv"), "conv1");
  EXPECT_EQ(module_path("/Add"), "");
  EXPECT_EQ(module_path("node_Conv_292"), "");
  EXPECT_EQ(module_path(""), "");
}

TEST(PytorchNames, AFoldedNetworksTensors) {
  std::map<std::string, std::string> names;
  for (const PytorchTensor& t : pytorch_tensors(fixture("resnet20-cifar10-bnfolded.onnx")))
    names[t.tensor] = t.name;
  EXPECT_EQ(names.size(), 2U * 19 + 2);
  EXPECT_EQ(names["onnx::Conv_253"], "conv1.weight");
  EXPECT_EQ(names["onnx::Conv_254"], "conv1.bias");
  EXPECT_EQ(names["onnx::Conv_256"], "layer1.0.conv1.weight");
  EXPECT_EQ(names["linear.weight"], "linear.weight");
  std::set<std::string> distinct;
  for (const auto& [file, name] : names) distinct.insert(name);
  EXPECT_EQ(distinct.size(), names.size());
}

TEST(PytorchNames, TheNewerExportersMetadataTellsTheModule) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(floats("val_3", {2, 1}, {1, 2}));
  b.node("PRelu", {"x", "val_3"}, {"y"}, {}, "node_prelu");
  ::onnx::StringStringEntryProto entry;
  entry.set_key("pkg.torch.onnx.name_scopes");
  entry.set_value("['', 'block', 'block.0', 'block.0.act', 'prelu']");
  auto* node = b.model.mutable_graph()->mutable_node(0);
  node->GetReflection()->MutableUnknownFields(node)->AddLengthDelimited(9, entry.SerializeAsString());
  const std::vector<PytorchTensor> found = pytorch_tensors(Model::parse(b.bytes(), "net.onnx"));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].name, "block.0.act.weight");
  EXPECT_EQ(found[0].shape, (Shape{2}));
}

TEST(PytorchNames, KeepsModuleNamesAndUndoesTransposes) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(floats("onnx::MatMul_7", {2, 3}, {1, 2, 3, 4, 5, 6}));
  b.initializer(floats("fc.bias", {3}, {1, 2, 3})).initializer(floats("conv.weight_bias", {3}, {1, 2, 3}));
  b.node("MatMul", {"x", "onnx::MatMul_7"}, {"a"}, {}, "/fc/MatMul")
      .node("Add", {"fc.bias", "a"}, {"b"}, {}, "/fc/Add");
  b.node("Gemm", {"b", "onnx::Gemm_9", "conv.weight_bias"}, {"y"}, {}, "node_7");
  b.initializer(floats("onnx::Gemm_9", {3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}));
  std::map<std::string, PytorchTensor> found;
  for (const PytorchTensor& t : pytorch_tensors(Model::parse(b.bytes(), "net.onnx"))) found[t.tensor] = t;
  EXPECT_EQ(found["onnx::MatMul_7"].name, "fc.weight");
  EXPECT_TRUE(found["onnx::MatMul_7"].transposed);
  EXPECT_EQ(found["onnx::MatMul_7"].shape, (Shape{3, 2}));
  EXPECT_EQ(found["conv.weight_bias"].name, "conv.bias");
  EXPECT_EQ(found["onnx::Gemm_9"].name, "onnx::Gemm_9");  // nothing to derive it from
}

}  // namespace
}  // namespace halftone::onnx
