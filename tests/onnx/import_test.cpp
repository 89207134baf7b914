#include "onnx/import.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "build_model.h"
#include "onnx/roles.h"

namespace halftone::onnx {
namespace {

using test::error_of;
using test::floats;
using test::int64s;
using test::ModelBuilder;
using ::testing::Test;

ir::Graph import_of(const ModelBuilder& b, ImportOptions options = {}) {
  return import(Model::parse(b.bytes(), "net.onnx"), options);
}
std::string refusal(const ModelBuilder& b, const ImportOptions& options = {}) {
  return error_of([&] { import_of(b, options); });
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Import, BindsTheBatchToTheFirstDimensionAndItsNameElsewhere) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).input("z", {"5", "N"}).output("y", {"3", "N"}).output("w", {"N", "5"});
  b.node("Transpose", {"x"}, {"y"}).node("Transpose", {"z"}, {"w"});
  ImportOptions options;
  options.batch = 7;
  options.storage = DType::kF16;
  const ir::Graph g = import_of(b, options);
  ASSERT_EQ(g.inputs.size(), 2U);
  EXPECT_EQ(g.value(g.inputs[0]).type, (ir::Type{DType::kF16, {7, 3}}));
  EXPECT_EQ(g.value(g.inputs[1]).type, (ir::Type{DType::kF16, {5, 7}}));
  ASSERT_EQ(g.outputs.size(), 2U);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{3, 7}));
  EXPECT_EQ(g.value(g.outputs[0]).name, "y");
  EXPECT_EQ(g.value(g.outputs[1]).type.shape, (Shape{7, 5}));
}

TEST(Import, RebindsAFixedBatch) {
  ModelBuilder b;
  b.input("x", {"1", "3"}).output("y", {"3", "1"}).node("Transpose", {"x"}, {"y"});
  ImportOptions options;
  options.batch = 4;
  const ir::Graph g = import_of(b, options);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{3, 4}));
}

TEST(Import, AGraphThatNeedsItsFixedBatchSaysSo) {
  ModelBuilder b;
  b.input("x", {"2", "3"})
      .output("y", {"6"})
      .initializer(int64s("shape", {6}))
      .node("Reshape", {"x", "shape"}, {"y"}, {}, "/flat");
  ImportOptions options;
  options.batch = 4;
  const std::string message = refusal(b, options);
  EXPECT_TRUE(contains(message, "node '/flat', operator Reshape, opset 17: cannot reshape 4x3 to 6"))
      << message;
  EXPECT_TRUE(contains(message, "--batch 2")) << message;
  options.batch = 2;
  EXPECT_EQ(refusal(b, options), "");
}

TEST(Import, AnOutputThatContradictsTheFileIsAnError) {
  ModelBuilder b;
  b.input("x", {"1", "3"})
      .output("y", {"1", "3"})
      .initializer(int64s("shape", {1, -1}))
      .node("Reshape", {"x", "shape"}, {"y"});
  ImportOptions options;
  options.batch = 4;
  EXPECT_TRUE(contains(refusal(b, options), "output 'y' comes out as 1x12"));
}

TEST(Import, OpenDimensionsNeedASize) {
  ModelBuilder b;
  b.input("x", {"N", "width", ""}).output("y", {"", "", ""}).node("Transpose", {"x"}, {"y"});
  const std::string message = refusal(b);
  EXPECT_TRUE(contains(message, "give 'width' a size")) << message;
  EXPECT_TRUE(contains(message, "give 'x:2' a size")) << message;
  ImportOptions options;
  options.other_dims = {{"width", 8}, {"x:2", 9}};
  const ir::Graph g = import_of(b, options);
  EXPECT_EQ(g.value(g.inputs[0]).type.shape, (Shape{1, 8, 9}));
}

TEST(Import, FoldsWhatItsInputsExplain) {
  ModelBuilder b;
  b.input("x", {"N", "6"}).output("y", {"N", "2", "3"});
  b.node("Constant", {}, {"flat"}, {{"value", int64s("", {0, 2, 3})}});
  b.initializer(int64s("shape_of_shape", {3}));
  b.node("Reshape", {"flat", "shape_of_shape"}, {"shape"});
  b.node("Identity", {"shape"}, {"shape2"});
  b.node("Reshape", {"x", "shape2"}, {"y"});
  const ir::Graph g = import_of(b);
  ASSERT_EQ(g.nodes.size(), 1U) << ir::print(g);
  EXPECT_EQ(g.nodes[0].name, "/y/Reshape");
}

TEST(Import, SortsNodesAndLeavesOutUnneededOnes) {
  ModelBuilder b;
  b.input("x", {"N", "6"}).output("y", {"6", "N"});
  b.node("Transpose", {"c"}, {"y"})
      .node("NonZero", {"x"}, {"unused"})
      .node("Transpose", {"b"}, {"c"})
      .node("Transpose", {"x"}, {"b"});
  const ir::Graph g = import_of(b);
  ASSERT_EQ(g.nodes.size(), 3U);
  EXPECT_EQ(g.nodes[0].name, "/b/Transpose");
  EXPECT_EQ(g.nodes[2].name, "/y/Transpose");
}

TEST(Import, ReportsAllUnsupportedNodesTogether) {
  ModelBuilder b;
  b.input("x", {"N", "6"}).open_output("y");
  b.node("NonZero", {"x"}, {"a"}, {}, "first");
  b.node("Transpose", {"a"}, {"b"}, {{"perm", std::vector<int64_t>{0, 0}}},
         "after");  // only checked by name: its input is unknown
  b.node("Transpose", {"x"}, {"c"}, {{"perm", std::vector<int64_t>{0, 0}}}, "perm");
  b.node("Special", {"b", "c"}, {"d"}, {}, "second");
  b.node("Transpose", {"d"}, {"y"}, {}, "custom");
  b.model.mutable_graph()->mutable_node(4)->set_domain("com.example");
  b.model.mutable_graph()->mutable_node(4)->set_op_type("Fancy");
  const std::string message = refusal(b);
  EXPECT_TRUE(contains(message, "net.onnx")) << message;
  EXPECT_TRUE(contains(message, "node 'first', operator NonZero, opset 17")) << message;
  EXPECT_TRUE(contains(message, "node 'perm', operator Transpose, opset 17: perm is not")) << message;
  EXPECT_TRUE(contains(message, "node 'second', operator Special, opset 17")) << message;
  EXPECT_TRUE(contains(message, "node 'custom', operator Fancy, opset 17: it is of the domain 'com.example'"))
      << message;
  EXPECT_FALSE(contains(message, "'after'")) << message;
}

TEST(Import, OpsetsOutsideTheRangeAreRefused) {
  for (const int opset : {8, 9, 13, 23, 24}) {
    ModelBuilder b(opset);
    b.input("x", {"N", "3"}).output("y", {"3", "N"}).node("Transpose", {"x"}, {"y"});
    EXPECT_EQ(contains(refusal(b), fmt::format("opset {} is outside 9 to 23", opset)),
              opset < 9 || opset > 23)
        << opset;
  }
}

TEST(Import, ControlFlowIsRefused) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).open_output("y").node("If", {"x"}, {"y"});
  auto* a = b.model.mutable_graph()->mutable_node(0)->add_attribute();
  a->set_name("then_branch");
  a->set_type(::onnx::AttributeProto::GRAPH);
  a->mutable_g()->set_name("branch");
  EXPECT_TRUE(contains(refusal(b), "operator If, opset 17: it runs a graph of its own"));
}

TEST(Import, AConstantOutputIsRefused) {
  ModelBuilder b;
  b.input("x", {"N", "3"})
      .output("y", {"3"})
      .initializer(floats("w", {3}, {1, 2, 3}))
      .node("Identity", {"w"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "output 'y' does not depend on any input"));
}

}  // namespace
}  // namespace halftone::onnx
