#include "onnx/import.h"

#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "build_function.h"
#include "build_model.h"
#include "onnx/input_axes.h"
#include "onnx/roles.h"

namespace halftone::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::TensorProto;
using test::Attr;
using test::error_of;
using test::floats;
using test::int64s;
using test::ModelBuilder;
using test::with_functions;
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

// A Squeeze that was traced with one sample: its declaration lacks the batch. Some converters declare no
// sizes at all.
TEST(Import, ADeclarationThatLacksTheBatch) {
  for (const std::vector<std::string>& declared : std::vector<std::vector<std::string>>{{}, {"3"}}) {
    ModelBuilder b;
    b.input("x", {"N", "3"}).output("y", declared).node("Relu", {"x"}, {"y"});
    ImportOptions options;
    options.batch = 4;
    const ir::Graph g = import_of(b, options);
    EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{4, 3}));
  }
  ModelBuilder b;
  b.input("x", {"N", "3"})
      .output("y", {})
      .node("ReduceMean", {"x"}, {"m"}, {{"axes", std::vector<int64_t>{1}}});
  b.node("Squeeze", {"m"}, {"y"});
  ImportOptions options;
  options.batch = 4;
  const ir::Graph g = import_of(b, options);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{4}));
}

// One sample cannot be mixed with others, so that a wrong declaration is no danger.
TEST(Import, OneSampleMayContradictTheFile) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).output("y", {"N"}).initializer(int64s("shape", {-1}));
  b.node("Reshape", {"x", "shape"}, {"y"});
  ImportOptions options;
  options.batch = 1;
  const ir::Graph g = import_of(b, options);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{3}));
  options.batch = 2;
  EXPECT_TRUE(contains(refusal(b, options), "output 'y' comes out as 6"));
}

TEST(Import, OpenDimensionsNeedASize) {
  ModelBuilder b;
  b.input("x", {"N", "width", ""}).output("y", {"", "", ""}).node("Transpose", {"x"}, {"y"});
  const std::string message = refusal(b);
  EXPECT_TRUE(contains(message, "--dim width=SIZE")) << message;
  EXPECT_TRUE(contains(message, "--dim x:2=SIZE")) << message;
  Model model = Model::parse(b.bytes(), "test.onnx");
  EXPECT_EQ(open_axes(model), (std::vector<std::string>{"width", "x:2"}));
  model.bind({{"width", 8}, {"x:2", 9}, {"N", 7}});
  EXPECT_TRUE(open_axes(model).empty());
  const ir::Graph g = import(model, {});
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

TEST(Import, InputsThatTheOpsetDoesNotHaveAreRefused) {
  struct Wrong {
    int opset;
    const char* op;
    std::vector<std::string> inputs;
    const char* message;  // empty: none
  };
  for (const Wrong& c :
       {Wrong{
            17, "Relu", {"x", "x"}, "operator Relu, opset 17: it has 2 inputs, the operator takes at most 1"},
        Wrong{17, "ReduceMax", {"x", "a"}, "it has 2 inputs, the operator takes at most 1"},
        Wrong{18, "ReduceMax", {"x", "a"}, ""}, Wrong{12, "ReduceSum", {"x", "a"}, "at most 1"},
        Wrong{13, "ReduceSum", {"x", "a"}, ""},
        Wrong{10, "Clip", {"x", "lo", "lo"}, "it has 3 inputs, the operator takes at most 1"},
        Wrong{11, "Clip", {"x", "lo", ""}, ""}, Wrong{10, "Relu", {"x", "", ""}, ""},
        Wrong{17, "MatMul", {"x", "w", "lo"}, "it has 3 inputs, the operator takes at most 2"},
        Wrong{17, "Sum", {"x", "x", "x", "x", "x"}, ""}}) {
    ModelBuilder b(c.opset);
    b.input("x", {"N", "3"})
        .open_output("y")
        .initializer(int64s("a", {1}))
        .initializer(floats("lo", {}, {0.25F}));
    b.initializer(floats("w", {3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 10})).node(c.op, c.inputs, {"y"});
    const std::string message = refusal(b);
    EXPECT_TRUE(*c.message == 0 ? message.empty() : contains(message, c.message))
        << c.op << " " << c.opset << ": " << message;
  }
}

TEST(Import, LooksBehindRefusedNodesWhereShapesAreKnown) {
  ModelBuilder b;
  b.input("x", {"N", "6"}).open_output("y");
  b.node("Elu", {"x"}, {"a"}, {{"speed", 1.0F}}, "bent1").node("Mish", {"a"}, {"b"}, {}, "mish");
  b.node("Transpose", {"b"}, {"c"}, {{"perm", std::vector<int64_t>{0, 0}}}, "perm");
  b.node("Elu", {"b"}, {"d"}, {{"speed", 1.0F}}, "bent2");
  b.node("Add", {"c", "d"}, {"e"}, {}, "unknown").node("Special", {"e"}, {"y"}, {}, "last");
  const std::string message = refusal(b);
  EXPECT_TRUE(
      contains(message, "node 'bent1', operator Elu, opset 17: the attribute 'speed' is not understood"))
      << message;
  EXPECT_TRUE(contains(message, "and 1 more of this kind: 'bent2'")) << message;
  EXPECT_TRUE(contains(message, "node 'perm', operator Transpose, opset 17: perm is not")) << message;
  EXPECT_TRUE(contains(message, "node 'last', operator Special")) << message;
  EXPECT_TRUE(contains(message, "1 nodes that come after these could be checked for their operator alone"))
      << message;
  EXPECT_TRUE(contains(message, "docs/adding-an-operator.md")) << message;
}

TEST(Import, TheAdviceFitsTheRefusal) {
  ModelBuilder b;
  b.input("x", {"N", "6"}).open_output("y");
  b.node("Transpose", {"x"}, {"y"}, {{"perm", std::vector<int64_t>{0, 0}}});
  const std::string attribute = refusal(b);
  EXPECT_EQ(attribute.find("adding-an-operator"), std::string::npos) << attribute;
  EXPECT_EQ(attribute.find("export"), std::string::npos) << attribute;
  ModelBuilder old(6);
  old.input("x", {"N", "3"}).output("y", {"3", "N"}).node("Transpose", {"x"}, {"y"});
  EXPECT_TRUE(contains(refusal(old), "version_converter")) << refusal(old);
  EXPECT_EQ(refusal(old).find("adding-an-operator"), std::string::npos);
}

TEST(Import, ClipAndRelativesInShapeArithmetic) {
  ModelBuilder b;
  b.input("x", {"N", "2", "3"}).output("y", {"N", "6"});
  b.initializer(int64s("zero", {0}))
      .initializer(int64s("low", {4}, true))
      .initializer(int64s("high", {9}, true));
  b.initializer(int64s("rest", {-3}));
  // max(batch, 4) and min(-3 + 2, ...) by Relu and Neg: [8, 6] for batches of 8, and an Expand that keeps it.
  b.node("Shape", {"x"}, {"s"})
      .node("Gather", {"s", "zero"}, {"n"})
      .node("Clip", {"n", "low", "high"}, {"n2"});
  b.node("Relu", {"rest"}, {"none"}).node("Add", {"n2", "none"}, {"n3"});
  b.node("Constant", {}, {"six"}, {{"value", int64s("", {6})}});
  b.node("Concat", {"n3", "six"}, {"shape"}, {{"axis", 0}}).node("Reshape", {"x", "shape"}, {"y"});
  ImportOptions options;
  options.batch = 8;
  const ir::Graph g = import_of(b, options);
  ASSERT_EQ(g.nodes.size(), 1U) << ir::print(g);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{8, 6}));
  options.batch = 2;  // becomes 4 by Clip
  EXPECT_TRUE(contains(refusal(b, options), "cannot reshape")) << refusal(b, options);
}

TEST(Import, TheUsersChoiceMakesAParameter) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(floats("mean", {2}, {0.5F, 0.25F}));
  b.node("Sub", {"x", "mean"}, {"y"});
  ImportOptions options;
  options.choice.train = {"mea?"};
  const ir::Graph g = import_of(b, options);
  EXPECT_EQ(g.value(g.nodes.at(0).inputs[1]).kind, ir::ValueKind::kParameter);
}

TEST(Import, OpsetsOutsideTheRangeAreRefused) {
  for (const int opset : {6, 7, 13, 24, 25}) {
    ModelBuilder b(opset);
    b.input("x", {"N", "3"}).output("y", {"3", "N"}).node("Transpose", {"x"}, {"y"});
    EXPECT_EQ(contains(refusal(b), fmt::format("opset {} is outside 7 to 24", opset)),
              opset < 7 || opset > 24)
        << opset;
  }
}

std::string ops_of(const ir::Graph& g);

// Drawn in each step, although nothing that they read changes.
TEST(Import, RandomOperatorsAreNotFolded) {
  for (const ops::Mode mode : {ops::Mode::kTrain, ops::Mode::kEval}) {
    ModelBuilder b;
    b.input("x", {"N", "3"}).open_output("y").initializer(floats("c", {3}, {1, 2, 3}));
    b.node("RandomNormalLike", {"c"}, {"r"}).node("Add", {"x", "r"}, {"y"});
    ImportOptions options;
    options.mode = mode;
    EXPECT_EQ(ops_of(import_of(b, options)), "Random Add");
  }
}

TEST(Import, OperatorsOfTextQuantisationAndDetectionsAreRefusedWithTheReason) {
  for (const auto& [op, words] : {std::pair{"QuantizeLinear", "quantised to 8 bits"},
                                  {"RoiAlign", "works on detections"},
                                  {"NonMaxSuppression", "--output NAME trains"},
                                  {"StringSplit", "reads text"}}) {
    ModelBuilder b;
    b.input("x", {"N", "3"}).open_output("y").node(op, {"x"}, {"y"});
    EXPECT_TRUE(contains(refusal(b), words)) << refusal(b);
  }
}

// An If between two branches that read `x` from outside: then 2 x + w (w its own), else -x.
ModelBuilder with_if(const std::string& condition) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).open_output("y");
  b.node("If", {condition}, {"z"}, {}, "choice").node("Neg", {"z"}, {"y"});
  const auto branch = [&](const std::string& name, const std::vector<std::vector<std::string>>& nodes) {
    auto* a = b.model.mutable_graph()->mutable_node(0)->add_attribute();
    a->set_name(name);
    a->set_type(AttributeProto::GRAPH);
    a->mutable_g()->set_name(name);
    for (const auto& n : nodes) {
      auto* node = a->mutable_g()->add_node();
      node->set_op_type(n[0]);
      node->add_output(n[1]);
      for (size_t i = 2; i < n.size(); ++i) node->add_input(n[i]);
    }
    a->mutable_g()->add_output()->set_name(nodes.back()[1]);
    return a->mutable_g();
  };
  *branch("then_branch", {{"Add", "t", "x", "x"}, {"Add", "out", "t", "w"}})->add_initializer() =
      floats("w", {3}, {1, 2, 3});
  branch("else_branch", {{"Abs", "out", "x"}});
  return b;
}
std::string ops_of(const ir::Graph& g) {
  std::string text;
  for (const ir::Node& n : g.nodes) text += (text.empty() ? "" : " ") + n.op;
  return text;
}

TEST(Import, AnIfWithAConstantConditionIsTheBranchThatItTakes) {
  for (const bool yes : {false, true}) {
    ModelBuilder b = with_if("c");
    TensorProto c;
    c.set_name("c");
    c.set_data_type(TensorProto::BOOL);
    c.add_int32_data(yes ? 1 : 0);
    b.initializer(c);
    const ir::Graph g = import_of(b);
    EXPECT_EQ(ops_of(g), yes ? "Add Add Neg" : "Abs Neg");
    EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{1, 3}));
  }
}

TEST(Import, AnIfMayDependOnShapes) {
  ModelBuilder b = with_if("c");
  b.node("Shape", {"x"}, {"s"}).node("Size", {"s"}, {"rank"}).node("Equal", {"rank", "two"}, {"c"});
  b.initializer(int64s("two", {2}, true));
  EXPECT_EQ(ops_of(import_of(b)), "Add Add Neg");
}

TEST(Import, AnIfThatDependsOnTheSamplesChoosesBetweenItsBranches) {
  ModelBuilder b = with_if("c");
  b.input("c", {}, TensorProto::BOOL);
  EXPECT_EQ(ops_of(import_of(b)), "Add Add Abs Where Neg");
  // Of one shape: whatever it chooses, what follows is compiled once.
  ModelBuilder wide = with_if("c");
  wide.input("c", {}, TensorProto::BOOL);
  wide.model.mutable_graph()
      ->mutable_node(0)
      ->mutable_attribute(1)
      ->mutable_g()
      ->mutable_node(0)
      ->set_op_type("Flatten");
  wide.model.mutable_graph()
      ->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->add_dim()
      ->set_dim_value(3);
  EXPECT_TRUE(contains(refusal(wide), "operator If, opset 17: its condition 'c' depends on the samples"))
      << refusal(wide);
  ModelBuilder many = with_if("c");
  many.input("c", {"3"}, TensorProto::BOOL);
  EXPECT_TRUE(contains(refusal(many), "its condition must be one bool, got uint8 3")) << refusal(many);
}

TEST(Import, WhatABranchCannotDoIsNamedWithTheBranch) {
  ModelBuilder b = with_if("c");
  TensorProto c;
  c.set_name("c");
  c.set_data_type(TensorProto::BOOL);
  c.add_int32_data(1);
  b.initializer(c);
  b.model.mutable_graph()->mutable_node(0)->mutable_attribute(0)->mutable_g()->mutable_node(1)->set_op_type(
      "Nonsense");
  EXPECT_TRUE(contains(refusal(b), "choice/then_branch/Nonsense#1")) << refusal(b);
}

// An If whose then-branch multiplies by its own weights, an initializer and a Constant, behind an If inside
// it, and whose else-branch has others of the same names.
ModelBuilder with_weights_in_branches() {
  ModelBuilder b;
  b.input("x", {"N", "2"}).input("rate", {}, TensorProto::INT64).open_output("y");
  b.initializer(int64s("wanted", {16000}, true))
      .node("Equal", {"rate", "wanted"}, {"c"})
      .node("If", {"c"}, {"y"}, {}, "choice");
  auto* choice = b.model.mutable_graph()->mutable_node(1);
  for (const std::string name : {"then_branch", "else_branch"}) {
    const auto node = [](::onnx::GraphProto* g, const std::string& op, const std::vector<std::string>& in,
                         const std::string& out) {
      auto* n = g->add_node();
      n->set_op_type(op);
      for (const std::string& i : in) n->add_input(i);
      n->add_output(out);
      return n;
    };
    const auto graph = [](::onnx::NodeProto* n, const std::string& attribute) {
      auto* a = n->add_attribute();
      a->set_name(attribute);
      a->set_type(AttributeProto::GRAPH);
      return a->mutable_g();
    };
    const float first = name == "then_branch" ? 1 : 5;
    ::onnx::GraphProto* g = graph(choice, name);
    *g->add_initializer() = floats("a.weight", {2, 2}, {first, 2, 3, 4});
    auto* value = node(g, "Constant", {}, "b.weight")->add_attribute();
    value->set_name("value");
    value->set_type(AttributeProto::TENSOR);
    *value->mutable_t() = floats("", {2, 2}, {first, 2, 3, 7});
    node(g, "MatMul", {"x", "a.weight"}, "h");
    node(g, "Shape", {"h"}, "s");
    node(g, "Size", {"s"}, "rank");
    *g->add_initializer() = int64s("two", {2}, true);
    node(g, "Equal", {"rank", "two"}, "is_matrix");
    ::onnx::NodeProto* inner = node(g, "If", {"is_matrix"}, "z");
    ::onnx::GraphProto* yes = graph(inner, "then_branch");
    node(yes, "MatMul", {"h", "b.weight"}, "t");
    yes->add_output()->set_name("t");
    ::onnx::GraphProto* no = graph(inner, "else_branch");
    node(no, "Nonsense", {"h"}, "t");
    no->add_output()->set_name("t");
    g->add_output()->set_name("z");
  }
  return b;
}

TEST(Import, AnInputThatIsOneNumberDecidesWhatAnIfIs) {
  const Model file = Model::parse(with_weights_in_branches().bytes(), "net.onnx");
  EXPECT_EQ(ops_of(import(file, {})), "Compare MatMul MatMul MatMul MatMul Where");
  for (const bool yes : {true, false}) {
    const Model model = file.with_fixed({{"rate", yes ? 16000.0 : 8000.0}});
    EXPECT_EQ(model.inputs().size(), 1U);
    const std::string branch = yes ? "choice/then_branch/" : "choice/else_branch/";
    std::vector<std::string> trained;
    for (const TensorRole& r : roles_of(model))
      trained.push_back(r.name + (r.role == Role::kParameter ? "" : " no"));
    EXPECT_EQ(trained, (std::vector<std::string>{branch + "a.weight", branch + "b.weight"}));
    const ir::Graph g = import(model, {});
    EXPECT_EQ(ops_of(g), "MatMul MatMul");
    EXPECT_EQ(g.inputs.size(), 1U);
    EXPECT_EQ(model.tensor(branch + "b.weight").as<float>()[0], yes ? 1.0F : 5.0F);
    EXPECT_EQ(model.tensor(branch + "a.weight").as<float>()[3], 4.0F);
  }
}

TEST(Import, FixedInputsHaveTheSizesOfTheOthers) {
  ModelBuilder b;
  b.input("x", {"N", "T"})
      .input("state", {"2", "N", "3"})
      .input("mask", {"N", "T"}, TensorProto::INT64)
      .input("free", {"", "T"});
  b.open_output("y").open_output("m").open_output("f");
  b.node("Add", {"x", "x"}, {"h"})
      .node("ReduceSum", {"state"}, {"sum"}, {Attr("keepdims", int64_t{0})})
      .node("Mul", {"h", "sum"}, {"y"});
  b.node("Cast", {"mask"}, {"float_mask"}, {Attr("to", int64_t{1})})
      .node("Mul", {"x", "float_mask"}, {"m"})
      .node("Mul", {"x", "free"}, {"f"});
  Model model = Model::parse(b.bytes(), "net.onnx").with_fixed({{"state", 0.5}, {"mask", 1}, {"free", 2}});
  EXPECT_EQ(open_axes(model), (std::vector<std::string>{"T", "free:0"}));
  model.bind({{"T", 4}});
  ImportOptions options;
  options.batch = 5;
  const ir::Graph g = import(model, options);
  std::vector<Shape> constants;
  for (const ir::Value& v : g.values)
    if (v.kind == ir::ValueKind::kConstant && v.data->size() > 1) constants.push_back(v.data->shape());
  EXPECT_EQ(g.inputs.size(), 1U);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{5, 4}));
  EXPECT_EQ(g.value(g.outputs[1]).type.shape, (Shape{5, 4}));
  EXPECT_EQ(constants, (std::vector<Shape>{{5, 4}, {5, 4}}));
  // What is no axis of another input and has a name is asked for.
  ModelBuilder open;
  open.input("x", {"N", "2"})
      .input("state", {"N", "D"})
      .open_output("y")
      .node("MatMul", {"x", "state"}, {"y"});
  const Model more = Model::parse(open.bytes(), "net.onnx").with_fixed({{"state", 1}});
  EXPECT_TRUE(contains(error_of([&] { import(more, {}); }), "--dim D=SIZE"));
}

TEST(Import, NumbersThatNoInputTakesAreRefused) {
  const Model model = Model::parse(with_weights_in_branches().bytes(), "net.onnx");
  const auto says = [&](const std::string& name, double value) {
    return error_of([&] { model.with_fixed({{name, value}}); });
  };
  EXPECT_TRUE(contains(says("rates", 1), "no input is called 'rates'"));
  EXPECT_TRUE(contains(says("rate", 0.5), "takes int64, and cannot be 0.5"));
  EXPECT_TRUE(contains(says("rate", 1e300), "cannot be 1e+300"));
  const std::pair<int, std::pair<double, double>> floats[] = {
      {TensorProto::FLOAT16, {-65504, 65536}},
      {TensorProto::BFLOAT16, {0x1.FEp127, 0x1.FFp127}},
      {TensorProto::FLOAT, {0x1.FFp127, -1e39}},
      {TensorProto::DOUBLE, {-0x1.FFp127, 1e39}}};
  for (const auto& [type, numbers] : floats) {
    ModelBuilder b;
    b.input("x", {"N", "2"})
        .input("t", {"N", "2"}, type)
        .output("y", {"N", "2"})
        .node("Cast", {"t"}, {"c"}, {Attr("to", int64_t{1})});
    b.node("Mul", {"x", "c"}, {"y"});
    const Model net = Model::parse(b.bytes(), "net.onnx");
    EXPECT_EQ(net.with_fixed({{"t", numbers.first}}).fixed().size(), 1U);
    EXPECT_TRUE(contains(error_of([&, n = numbers.second] {
                           net.with_fixed({{"t", n}});
                         }),
                         "input 't' takes"))
        << numbers.second;
  }
}

// Without two whole graphs it is no If.
TEST(Import, AnIfWithoutItsGraphsIsRefused) {
  ModelBuilder b = with_if("c");
  b.input("c", {}, TensorProto::BOOL);
  b.model.mutable_graph()->mutable_node(0)->mutable_attribute()->RemoveLast();
  EXPECT_TRUE(contains(refusal(b), "operator If, opset 17: it has no graph 'else_branch'")) << refusal(b);
  ModelBuilder twice = with_if("c");
  twice.input("c", {}, TensorProto::BOOL);
  auto* g = twice.model.mutable_graph()->mutable_node(0)->mutable_attribute(0)->mutable_g();
  g->mutable_node(1)->set_output(0, "t");
  g->mutable_output(0)->set_name("t");
  EXPECT_TRUE(contains(refusal(twice), "its graph 'then_branch' defines 't' twice")) << refusal(twice);
}

TEST(Import, AQuantisedNetworkIsCalledSo) {
  ModelBuilder b;
  b.input("x", {"N", "3"})
      .open_output("y")
      .node("DynamicQuantizeLinear", {"x"}, {"q", "s", "z"})
      .node("DequantizeLinear", {"q", "s", "z"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "operator DynamicQuantizeLinear, opset 17: the network is quantised"))
      << refusal(b);
  EXPECT_TRUE(contains(refusal(b), "operator DequantizeLinear, opset 17: the network is quantised"))
      << refusal(b);
  b.model.mutable_graph()->mutable_node(0)->set_domain("com.microsoft");
  b.model.mutable_graph()->mutable_node(0)->set_op_type("QGemm");
  EXPECT_TRUE(contains(refusal(b), "operator QGemm, opset 17: the network is quantised")) << refusal(b);
}

TEST(Import, TheFilesFunctionsAreInlined) {
  const ModelBuilder b = with_functions();
  const ir::Graph g = import_of(b);
  ASSERT_EQ(ops_of(g), "MatMul LeakyRelu MatMul LeakyRelu MatMul LeakyRelu");
  EXPECT_EQ(g.nodes[1].attributes.float_at("alpha"), 0.5);
  EXPECT_EQ(g.nodes[3].attributes.float_at("alpha"), 0.25);
  EXPECT_EQ(g.value(g.outputs[0]).name, "y");
  // One tensor, trained by all calls.
  EXPECT_EQ(g.nodes[0].inputs[1], g.nodes[4].inputs[1]);
  EXPECT_EQ(g.value(g.nodes[0].inputs[1]).kind, ir::ValueKind::kParameter);
}

TEST(Import, FunctionsThatCannotBeInlinedAreRefused) {
  ModelBuilder b = with_functions();
  b.model.mutable_functions(1)->mutable_node(0)->set_op_type("Twice");
  EXPECT_TRUE(contains(refusal(b), "'Twice' calls itself")) << refusal(b);
  ModelBuilder more = with_functions();
  more.model.mutable_graph()->mutable_node(0)->add_input("x");
  EXPECT_TRUE(contains(refusal(more), "with 3 inputs")) << refusal(more);
  // Functions read what they are given alone.
  ModelBuilder captures = with_functions();
  captures.model.mutable_functions(0)->mutable_node(0)->set_input(1, "w");
  EXPECT_TRUE(contains(refusal(captures), "the function 'Scaled' reads 'w', which nothing in it defines"))
      << refusal(captures);
  ModelBuilder unsorted = with_functions();
  unsorted.model.mutable_functions(0)->mutable_node()->SwapElements(0, 1);
  EXPECT_TRUE(contains(refusal(unsorted), "the function 'Scaled' reads 't' before the node that computes it"))
      << refusal(unsorted);
  ModelBuilder unknown = with_functions();
  unknown.model.mutable_functions(0)->mutable_node(0)->set_op_type("Nonsense");
  EXPECT_TRUE(contains(refusal(unknown), "Nonsense")) << refusal(unknown);
}

// A field that not every version of ONNX's schema has.
void set_overload(google::protobuf::Message& message, int field, const std::string& name) {
  google::protobuf::UnknownFieldSet fields;
  fields.AddLengthDelimited(field, name);
  std::string bytes;
  ASSERT_TRUE(fields.SerializeToString(&bytes) && message.MergeFromString(bytes));
}

TEST(Import, OverloadsOfAFunctionAreToldApart) {
  for (const std::string call : {"first", "second", "third"}) {
    ModelBuilder b;
    b.input("x", {"N", "3"}).output("y", {"N", "3"}).node("Act", {"x"}, {"y"});
    for (const char* overload : {"first", "second"}) {
      auto* f = b.model.add_functions();
      f->set_name("Act");
      f->set_domain("own");
      f->add_input("a");
      f->add_output("b");
      auto* node = f->add_node();
      node->set_op_type(std::string(overload) == "first" ? "Neg" : "Relu");
      node->add_input("a");
      node->add_output("b");
      auto* opset = f->add_opset_import();
      opset->set_version(17);
      set_overload(*f, 13, overload);
    }
    auto* opset = b.model.add_opset_import();
    opset->set_domain("own");
    opset->set_version(1);
    auto* node = b.model.mutable_graph()->mutable_node(0);
    node->set_domain("own");
    set_overload(*node, 8, call);
    if (call == "third") {
      EXPECT_TRUE(contains(refusal(b), "Act")) << refusal(b);
      continue;
    }
    const ir::Graph g = import_of(b);
    EXPECT_EQ(std::count_if(g.nodes.begin(), g.nodes.end(),
                            [&](const ir::Node& n) { return n.op == (call == "first" ? "Neg" : "Relu"); }),
              1)
        << call;
  }
}

// ONNX Runtime runs its own operator, whatever the function says.
TEST(Import, AFunctionWithTheNameOfAnOperatorIsRefused) {
  for (const char* domain : {"", "ai.onnx", "own"}) {
    ModelBuilder b;
    b.input("x", {"N", "3"}).output("y", {"N", "3"}).node("Relu", {"x"}, {"y"});
    auto* f = b.model.add_functions();
    f->set_name("Relu");
    f->set_domain(domain);
    f->add_input("a");
    f->add_output("b");
    auto* node = f->add_node();
    node->set_op_type("Neg");
    node->add_input("a");
    node->add_output("b");
    for (auto* imports : {b.model.mutable_opset_import(), f->mutable_opset_import()}) {
      auto* opset = imports->Add();
      opset->set_domain(domain);
      opset->set_version(17);
    }
    b.model.mutable_graph()->mutable_node(0)->set_domain(domain);
    const bool own = std::string(domain) == "own";
    if (!own) b.model.mutable_opset_import()->RemoveLast();
    const std::string message = refusal(b);
    EXPECT_TRUE(own ? message.empty()
                    : contains(message, "the function 'Relu' has the name of one of ONNX's own operators"))
        << message;
  }
}

TEST(Import, AConstantOutputIsRefused) {
  ModelBuilder b;
  b.input("x", {"N", "3"})
      .output("y", {"3"})
      .initializer(floats("w", {3}, {1, 2, 3}))
      .node("Identity", {"w"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "output 'y' does not depend on any input"));
}

TEST(Import, AnOutputThatIsAnInputIsRefused) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).output("y", {"N", "3"}).node("Identity", {"x"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "output 'y' is the input 'x' itself"));
}

TEST(Import, ParametersAreStoredAsAskedAndStatisticsInFp32) {
  ModelBuilder b;
  b.input("x", {"N", "1", "4", "4"}).open_output("y").initializer(floats("w", {1, 1, 1, 1}, {2}));
  for (const char* name : {"scale", "shift", "mean", "var"}) b.initializer(floats(name, {1}, {1}));
  b.node("Conv", {"x", "w"}, {"a"}).node("Conv", {"a", "w"}, {"b"});
  b.node("BatchNormalization", {"b", "scale", "shift", "mean", "var"}, {"y"});
  ImportOptions options;
  for (const DType storage : {DType::kF16, DType::kBf16, DType::kF32, DType::kF64}) {
    options.storage = storage;
    const ir::Graph g = import_of(b, options);
    std::map<std::string, ir::Value> named;
    for (const ir::Value& v : g.values) {
      if (v.kind != ir::ValueKind::kParameter && v.kind != ir::ValueKind::kState) continue;
      EXPECT_TRUE(named.emplace(v.name, v).second) << v.name << " is there twice";
    }
    ASSERT_EQ(named.size(), 5U);
    EXPECT_EQ(named["w"].kind, ir::ValueKind::kParameter);
    EXPECT_EQ(named["w"].type.dtype, storage);
    EXPECT_EQ(named["w"].initial()->dtype(), DType::kF32);
    EXPECT_EQ(named["mean"].kind, ir::ValueKind::kState);
    EXPECT_EQ(named["mean"].type.dtype, register_type(storage));
    EXPECT_EQ(named["scale"].kind, ir::ValueKind::kParameter);
    const ir::Value& y = g.value(g.outputs[0]);
    EXPECT_EQ(y.name, "y");
    EXPECT_EQ(y.type.dtype, storage);
  }
}

TEST(Import, SharedStatisticsCanOnlyBeFrozen) {
  ModelBuilder b;
  b.input("x", {"N", "1", "2", "2"}).open_output("y");
  for (const char* name : {"scale", "shift", "mean", "var"}) b.initializer(floats(name, {1}, {1}));
  b.node("Identity", {"mean"}, {"mean2"});
  b.node("BatchNormalization", {"x", "scale", "shift", "mean", "var"}, {"a"});
  b.initializer(floats("var2", {1}, {1}))
      .node("BatchNormalization", {"a", "scale", "shift", "mean2", "var2"}, {"y"});
  ImportOptions options;
  EXPECT_EQ(refusal(b, options), "");
  options.mode = ops::Mode::kTrain;
  EXPECT_TRUE(contains(refusal(b, options), "statistics 'mean' belong to another batch norm too"))
      << refusal(b, options);
  options.batch_norm = ops::BatchNormMode::kFreeze;
  EXPECT_EQ(refusal(b, options), "");
}

TEST(Import, ConstantsDoNotTrainAndKeepTheirValues) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(floats("mean", {2}, {0.5F, 0.25F}));
  b.node("Sub", {"x", "mean"}, {"y"});
  const ir::Graph g = import_of(b);
  ASSERT_EQ(g.nodes.size(), 1U);
  const ir::Value& mean = g.value(g.nodes[0].inputs[1]);
  EXPECT_EQ(mean.kind, ir::ValueKind::kConstant);
  EXPECT_EQ(mean.initial()->as<float>()[1], 0.25F);
}

TEST(Import, ShapeArithmeticOnTheBatchFoldsAway) {
  ModelBuilder b;
  b.input("x", {"N", "2", "3"}).output("y", {"N", "6"});
  b.initializer(int64s("zero", {0}, true)).initializer(int64s("rest", {-1})).initializer(int64s("axes", {0}));
  b.node("Shape", {"x"}, {"s"}).node("Gather", {"s", "zero"}, {"n"}).node("Unsqueeze", {"n", "axes"}, {"n1"});
  b.node("Concat", {"n1", "rest"}, {"shape"}, {{"axis", 0}}).node("Reshape", {"x", "shape"}, {"y"});
  ImportOptions options;
  options.batch = 5;
  const ir::Graph g = import_of(b, options);
  ASSERT_EQ(g.nodes.size(), 1U) << ir::print(g);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{5, 6}));
}

TEST(Import, SizesBeyondAnyMachineAreRefused) {
  ModelBuilder b;
  b.input("x", {"N", "1", "1099511627776", "28"}).open_output("y");
  b.node("AveragePool", {"x"}, {"y"}, {{"kernel_shape", std::vector<int64_t>{3, 3}}});
  EXPECT_TRUE(contains(refusal(b), "input 'x': a tensor of shape 1x1x1099511627776x28")) << refusal(b);
  ModelBuilder overflow;
  overflow.input("x", {"N", "4611686018427387904", "4"}).open_output("y").node("Relu", {"x"}, {"y"});
  EXPECT_TRUE(contains(refusal(overflow), "input 'x': the shape")) << refusal(overflow);
}

// Operators without a fold rule of their own are run: MatMul, LeakyRelu, ReduceL2.
TEST(Import, EveryOperatorFoldsOnConstants) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).output("y", {"N", "2"});
  b.initializer(floats("from", {}, {1}))
      .initializer(floats("to", {}, {7}))
      .initializer(floats("step", {}, {1}));
  b.initializer(floats("thirty", {}, {30}))
      .initializer(int64s("rows", {2, 3}))
      .initializer(int64s("row", {1, 2}));
  b.node("Range", {"from", "to", "step"}, {"r"})
      .node("Reshape", {"r", "rows"}, {"a"})
      .node("Transpose", {"a"}, {"t"});
  b.node("MatMul", {"a", "t"}, {"m"});                   // 14 32 / 32 77
  b.node("Sub", {"m", "thirty"}, {"s"});                 // -16 2 / 2 47
  b.node("LeakyRelu", {"s"}, {"l"}, {{"alpha", 0.5F}});  // -8 2 / 2 47
  b.node("ReduceL2", {"l"}, {"n"}, {{"axes", std::vector<int64_t>{0}}, {"keepdims", 0}});
  b.node("Reshape", {"n", "row"}, {"table"}).node("Mul", {"x", "table"}, {"y"});
  const ir::Graph g = import_of(b);
  ASSERT_EQ(g.nodes.size(), 1U) << ir::print(g);
  const ir::Value& table = g.value(g.nodes[0].inputs[1]);
  ASSERT_EQ(table.kind, ir::ValueKind::kConstant);
  EXPECT_EQ(table.data->dtype(), DType::kF32);
  EXPECT_FLOAT_EQ(table.data->as<float>()[0], std::sqrt(68.0F));
  EXPECT_FLOAT_EQ(table.data->as<float>()[1], std::sqrt(2213.0F));
}

TEST(Import, WhatCannotBeFoldedIsRefusedByName) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).output("y", {"N", "2"});
  b.node("Constant", {}, {"a"}, {{"value", int64s("", {1, 2})}});
  b.node("Softmax", {"a"}, {"s"}).node("Mul", {"x", "s"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "a float tensor was expected, got int64")) << refusal(b);
}

TEST(Import, FoldingIsBounded) {
  ModelBuilder b;
  b.input("x", {"N"}).open_output("y").initializer(int64s("huge", {int64_t{1} << 40, 1024}));
  b.node("ConstantOfShape", {"huge"}, {"c"}).node("Add", {"x", "c"}, {"y"});
  EXPECT_TRUE(contains(refusal(b), "operator ConstantOfShape")) << refusal(b);
  // Many results that are allowed one by one.
  ModelBuilder many;
  many.input("x", {"N"}).open_output("y").initializer(int64s("large", {int64_t{1} << 22}));
  std::string last = "x";
  for (int i = 0; i < 20; ++i) {
    const std::string k = std::to_string(i);
    many.node("ConstantOfShape", {"large"}, {"c" + k}).node("Add", {last, "c" + k}, {"a" + k});
    last = "a" + k;
  }
  many.node("Identity", {last}, {"y"});
  EXPECT_TRUE(contains(refusal(many), "67108864 elements altogether")) << refusal(many);
}

TEST(Import, AResNetInEveryForm) {
  const std::string folder = std::string(HALFTONE_TESTS_DIR) + "/fixtures/models/";
  const auto count = [](const ir::Graph& g, const std::string& op) {
    return std::count_if(g.nodes.begin(), g.nodes.end(), [&](const ir::Node& n) { return n.op == op; });
  };
  ImportOptions options;
  options.batch = 32;
  options.storage = DType::kF16;
  options.mode = ops::Mode::kTrain;
  for (const char* name : {"resnet20-cifar10.onnx", "resnet20-cifar10-bnfolded.onnx"}) {
    const ir::Graph g = import(Model::load(folder + name), options);
    EXPECT_EQ(count(g, "Conv"), 19) << name;
    EXPECT_EQ(count(g, "Relu"), 19) << name;
    EXPECT_EQ(count(g, "BatchNormTrain"), std::string(name) == "resnet20-cifar10.onnx" ? 19 : 0);
    ASSERT_EQ(g.outputs.size(), 1U);
    EXPECT_EQ(g.value(g.outputs[0]).name, "logits");
    EXPECT_EQ(g.value(g.outputs[0]).type, (ir::Type{DType::kF16, {32, 10}}));
  }
  options.mode = ops::Mode::kEval;
  const ir::Graph g = import(Model::load(folder + "resnet20-cifar10.onnx"), options);
  EXPECT_EQ(count(g, "BatchNormalization"), 19);
}

TEST(Append, AnInputOfALossGraphHasAPossibleSize) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).open_output("y").node("Relu", {"x"}, {"y"});
  ir::Graph graph = import_of(b);
  ModelBuilder loss;
  loss.input("y", {"N", "3"}).input("z", {"N", "1099511627776"}).open_output("loss");
  loss.node("ReduceSum", {"z"}, {"s"}, {{"keepdims", 0}}).node("Add", {"y", "s"}, {"loss"});
  const std::string refused = error_of([&] {
    append(graph, Model::parse(loss.bytes(), "loss.onnx"), {{"y", graph.outputs[0]}}, 1, DType::kF32);
  });
  EXPECT_TRUE(contains(refused, "input 'z': a tensor of shape 1x1099511627776 has more elements than"))
      << refused;
}

}  // namespace
}  // namespace halftone::onnx
