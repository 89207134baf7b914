#include "onnx/export_fp16.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "build_model.h"
#include "num/half.h"

namespace halftone::onnx {
namespace {

using test::error_of;
using test::floats;
using test::int64s;
using test::ModelBuilder;
using test::ModelProto;
using test::NodeProto;
using test::TemporaryFolder;
using test::TensorProto;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Exported {
  ModelProto proto;
  Fp16Report report;
  std::map<std::string, TensorProto> tensors;
  std::map<std::string, NodeProto> nodes;  // by first output

  int type_of(const std::string& tensor) const { return tensors.at(tensor).data_type(); }
};

Exported exported(const Model& model, const Fp16Options& options = {}) {
  TemporaryFolder folder;
  Exported e;
  e.report = export_fp16(model, folder / "out.onnx", options);
  EXPECT_TRUE(e.proto.ParseFromString(read_file(folder / "out.onnx")));
  Model::load(folder / "out.onnx");  // names, order and sizes are in order
  for (const auto& t : e.proto.graph().initializer()) e.tensors[t.name()] = t;
  for (const auto& n : e.proto.graph().node()) e.nodes[n.output(0)] = n;
  return e;
}
Exported exported(const ModelBuilder& b, const Fp16Options& options = {}) {
  return exported(Model::parse(b.bytes(), "net.onnx"), options);
}
std::string refusal(const ModelBuilder& b) {
  return error_of([&] { exported(b); });
}

ModelBuilder linear(const TensorProto& w) {
  ModelBuilder b;
  b.input("x", {"N", "2"})
      .output("y", {"N", "2"})
      .initializer(w)
      .node("MatMul", {"x", "w"}, {"y"}, {}, "product");
  return b;
}

TEST(ExportFp16, WeightsAndComputationsBecomeFp16AndBordersStay) {
  const Exported e = exported(linear(floats("w", {2, 2}, {1, 2, 3, 0.1F})));
  EXPECT_EQ(e.type_of("w"), TensorProto::FLOAT16);
  ASSERT_EQ(e.tensors.at("w").raw_data().size(), 8U);
  uint16_t bits = 0;
  std::memcpy(&bits, e.tensors.at("w").raw_data().data() + 6, 2);
  EXPECT_EQ(bits, num::to_fp16(0.1F).bits);
  ASSERT_EQ(e.proto.graph().node_size(), 3);
  const auto& g = e.proto.graph();
  EXPECT_EQ(g.node(0).op_type(), "Cast");
  EXPECT_EQ(g.node(0).input(0), "x");
  EXPECT_EQ(g.node(0).attribute(0).i(), TensorProto::FLOAT16);
  EXPECT_EQ(g.node(1).name(), "product");
  EXPECT_EQ(g.node(1).input(0), g.node(0).output(0));
  EXPECT_EQ(g.node(2).input(0), g.node(1).output(0));
  EXPECT_EQ(g.node(2).output(0), "y");
  EXPECT_EQ(g.node(2).attribute(0).i(), TensorProto::FLOAT);
  EXPECT_EQ(g.input(0).type().tensor_type().elem_type(), TensorProto::FLOAT);
  EXPECT_EQ(g.output(0).type().tensor_type().elem_type(), TensorProto::FLOAT);
  EXPECT_TRUE(e.report.warnings.empty());
}

TEST(ExportFp16, BordersOnRequest) {
  Fp16Options options;
  options.fp16_borders = true;
  const Exported e = exported(linear(floats("w", {2, 2}, {1, 2, 3, 4})), options);
  ASSERT_EQ(e.proto.graph().node_size(), 1);
  EXPECT_EQ(e.proto.graph().input(0).type().tensor_type().elem_type(), TensorProto::FLOAT16);
  EXPECT_EQ(e.proto.graph().output(0).type().tensor_type().elem_type(), TensorProto::FLOAT16);
}

TEST(ExportFp16, AnOutputThatNodesReadToo) {
  ModelBuilder b = linear(floats("w", {2, 2}, {1, 2, 3, 4}));
  b.output("z", {"N", "2"}).node("Relu", {"y"}, {"z"}).input("y_fp16", {"N"});  // the obvious name is taken
  const Exported e = exported(b);
  const NodeProto relu = e.nodes.at("z_fp16");
  EXPECT_EQ(relu.input(0), "y_fp16_1");
  EXPECT_EQ(e.nodes.at("y").op_type(), "Cast");
  EXPECT_EQ(e.nodes.at("z").op_type(), "Cast");
}

TEST(ExportFp16, ShapeArithmeticStaysInFp32) {
  ModelBuilder b;
  b.input("x", {"N", "2"})
      .open_output("y")
      .initializer(floats("scale", {}, {0.5F}))
      .initializer(floats("bias", {1}, {1}));
  b.node("Shape", {"x"}, {"s"}).node("Cast", {"s"}, {"f"}, {{"to", 1}}).node("Mul", {"f", "scale"}, {"h"});
  b.node("Cast", {"h"}, {"shape"}, {{"to", 7}}).node("Constant", {}, {"one"}, {{"value_float", 1.0F}});
  b.node("Reshape", {"x", "shape"}, {"r"}).node("Add", {"r", "bias"}, {"a"}).node("Mul", {"a", "one"}, {"m"});
  b.node("ConstantOfShape", {"shape"}, {"zeros"})
      .node("Cast", {"m"}, {"again"}, {{"to", 1}})
      .node("Add", {"again", "zeros"}, {"y"});
  const Exported e = exported(b);
  EXPECT_EQ(e.type_of("scale"), TensorProto::FLOAT);
  EXPECT_EQ(e.type_of("bias"), TensorProto::FLOAT16);
  EXPECT_EQ(e.nodes.at("f").attribute(0).i(), TensorProto::FLOAT);
  EXPECT_EQ(e.nodes.at("again").attribute(0).i(), TensorProto::FLOAT16);
  EXPECT_EQ(e.nodes.at("one").attribute(0).t().data_type(), TensorProto::FLOAT16);
  EXPECT_EQ(e.nodes.at("one").attribute(0).name(), "value");
  EXPECT_EQ(e.nodes.at("zeros").attribute(0).t().data_type(), TensorProto::FLOAT16);
}

TEST(ExportFp16, ScalesOfAResizeStayInFp32) {
  ModelBuilder b;
  b.input("x", {"N", "1", "4"})
      .open_output("y")
      .initializer(floats("scales", {3}, {1, 1, 2}))
      .initializer(floats("w", {3}, {1, 1, 2}));
  b.node("Resize", {"x", "", "scales"}, {"a"})
      .node("Upsample", {"a", "scales"}, {"b"})
      .node("Mul", {"b", "w"}, {"y"});
  const Exported e = exported(b);
  EXPECT_EQ(e.type_of("scales"), TensorProto::FLOAT);
  EXPECT_EQ(e.type_of("w"), TensorProto::FLOAT16);
}

TEST(ExportFp16, ConstantsThatNobodyCanReadStayAsTheyAre) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").node("Relu", {"x"}, {"y"});
  b.node("Constant", {}, {"two", "names"}, {{"value_float", 1.0F}});
  b.node("Constant", {}, {"both"}, {{"value_int", 1}, {"value_float", 1.0F}});
  const Exported e = exported(b);
  EXPECT_EQ(e.nodes.at("two").attribute(0).name(), "value_float");
  EXPECT_EQ(e.nodes.at("both").attribute(1).name(), "value_float");
}

ModelBuilder normalised(int opset, float variance) {
  ModelBuilder b(opset);
  b.input("x", {"N", "1", "2", "2"}).open_output("y").initializer(floats("var", {1}, {variance}));
  for (const char* name : {"scale", "shift", "mean"}) b.initializer(floats(name, {1}, {0.5F}));
  b.node("BatchNormalization", {"x", "scale", "shift", "mean", "var"}, {"y"});
  return b;
}

TEST(ExportFp16, StatisticsHaveTheTypeThatTheOpsetAllows) {
  for (const int opset : {9, 13, 14, 15, 23}) {
    const Exported e = exported(normalised(opset, 2));
    EXPECT_EQ(e.type_of("scale"), TensorProto::FLOAT16) << opset;
    EXPECT_EQ(e.type_of("mean"), opset < 14 ? TensorProto::FLOAT16 : TensorProto::FLOAT) << opset;
    EXPECT_EQ(e.type_of("var"), opset < 14 ? TensorProto::FLOAT16 : TensorProto::FLOAT) << opset;
    EXPECT_EQ(e.proto.graph().node_size(), 3) << opset;  // and two casts at the borders
  }
  EXPECT_EQ(exported(normalised(15, 1e6F)).type_of("var"), TensorProto::FLOAT);
  const std::string message = refusal(normalised(13, 1e6F));
  EXPECT_TRUE(contains(message, "'var': 1 of 1 values are beyond 65504 (the largest is 1e+06)")) << message;
}

TEST(ExportFp16, ValuesOutOfRange) {
  const std::string message = refusal(linear(floats("w", {2, 2}, {1, 2, 1e5F, -2e5F})));
  EXPECT_TRUE(contains(message, "'w': 2 of 4 values are beyond 65504 (the largest is 200000)")) << message;
  const Exported tiny = exported(linear(floats("w", {2, 2}, {1, 2, 1e-9F, 0})));
  ASSERT_EQ(tiny.report.warnings.size(), 1U);
  EXPECT_TRUE(contains(tiny.report.warnings[0], "'w': 1 of 4 values are below fp16's range and became 0"));
  // A constant that means "no limit".
  ModelBuilder b;
  b.input("x", {"N"})
      .open_output("y")
      .initializer(floats("low", {}, {0}))
      .initializer(floats("high", {}, {3.4e38F}));
  b.node("Clip", {"x", "low", "high"}, {"y"});
  const Exported e = exported(b);
  ASSERT_EQ(e.report.warnings.size(), 1U);
  EXPECT_TRUE(contains(e.report.warnings[0], "'high': 1 of 1 values are beyond 65504"));
  uint16_t bits = 0;
  std::memcpy(&bits, e.tensors.at("high").raw_data().data(), 2);
  EXPECT_EQ(bits, 0x7BFF);
}

TEST(ExportFp16, RefusesOperatorsItDoesNotKnow) {
  ModelBuilder b;
  b.input("x", {"N"}).open_output("y").node("Magic", {"x"}, {"a"}).node("Trick", {"a"}, {"y"});
  const std::string message = refusal(b);
  EXPECT_TRUE(contains(message, "operator Magic")) << message;
  EXPECT_TRUE(contains(message, "operator Trick")) << message;
}

// Halftone trains them, but the file has to be written node by node.
TEST(ExportFp16, RefusesWhatArrangesOthersOnce) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").node("SplitToSequence", {"x"}, {"s"}, {{"axis", 1}});
  b.node("ConcatFromSequence", {"s"}, {"y"}, {{"axis", 1}});
  const std::string message = refusal(b);
  for (const std::string op : {"SplitToSequence", "ConcatFromSequence"})
    EXPECT_TRUE(
        contains(message, "operator " + op + ", opset 17: it arranges other nodes, or lists of tensors"))
        << message;
  EXPECT_FALSE(contains(message, "there is no such operator")) << message;
}

TEST(ExportFp16, RefusesWhatHasNoFp16) {
  ModelBuilder b(13);
  b.input("x", {"N"}).open_output("y").node("Celu", {"x"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "operator Celu, opset 13: ONNX defines it for fp32 only")) << refusal(b);
  ModelBuilder f;
  f.input("x", {"N"}).open_output("y").node("Neg", {"x"}, {"y"});
  f.model.add_functions()->set_name("Own");
  EXPECT_TRUE(contains(refusal(f), "operator Own, opset 17: the file defines its own function"))
      << refusal(f);
}

TEST(ExportFp16, AWholeNetwork) {
  for (const char* name : {"resnet20-cifar10.onnx", "resnet20-cifar10-bnfolded.onnx"}) {
    const Model model = Model::load(std::string(HALFTONE_TESTS_DIR) + "/fixtures/models/" + name);
    const Exported e = exported(model);
    for (const auto& t : e.proto.graph().initializer())
      EXPECT_NE(t.data_type(), TensorProto::FLOAT) << t.name();
    EXPECT_EQ(e.proto.graph().node_size(), static_cast<int>(model.nodes().size()) + 2) << name;
    std::set<std::string> names;
    for (const auto& n : e.proto.graph().node()) names.insert(n.name());
    for (const NodeInfo& n : model.nodes()) EXPECT_EQ(names.count(n.name), 1U) << n.name;
  }
}

}  // namespace
}  // namespace halftone::onnx
