// Loops, scans, sequences and optional values: gone when a network has been read.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "build_function.h"
#include "build_model.h"
#include "onnx/import.h"
#include "onnx/roles.h"

namespace halftone::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::TensorProto;
using test::error_of;
using test::floats;
using test::int64s;
using test::ModelBuilder;

ir::Graph import_of(const ModelBuilder& b) {
  return import(Model::parse(b.bytes(), "net.onnx"), {});
}
std::string refusal(const ModelBuilder& b) {
  return error_of([&] { import_of(b); });
}
std::string ops_of(const ir::Graph& g) {
  std::string text;
  for (const ir::Node& n : g.nodes) text += (text.empty() ? "" : " ") + n.op;
  return text;
}
void expect_says(const ModelBuilder& b, const std::string& part) {
  EXPECT_NE(refusal(b).find(part), std::string::npos)
      << "'" << refusal(b) << "' does not say '" << part << "'";
}

TensorProto boolean(const std::string& name, bool value) {
  TensorProto t;
  t.set_name(name);
  t.set_data_type(TensorProto::BOOL);
  t.add_int32_data(value ? 1 : 0);
  return t;
}

struct Body {
  std::vector<std::string> inputs;
  std::vector<std::vector<std::string>> nodes;  // operator, output, inputs
  std::vector<std::string> outputs;
};
GraphProto* add_body(ModelBuilder& b, int node, const Body& body) {
  auto* a = b.model.mutable_graph()->mutable_node(node)->add_attribute();
  a->set_name("body");
  a->set_type(AttributeProto::GRAPH);
  GraphProto* g = a->mutable_g();
  g->set_name("body");
  for (const std::string& name : body.inputs) g->add_input()->set_name(name);
  for (const auto& n : body.nodes) {
    auto* made = g->add_node();
    made->set_op_type(n[0]);
    made->add_output(n[1]);
    for (size_t i = 2; i < n.size(); ++i) made->add_input(n[i]);
  }
  for (const std::string& name : body.outputs) g->add_output()->set_name(name);
  return g;
}

// h = x; `trips` times: h = tanh(h w), all h stacked.
ModelBuilder with_loop(const Body& body = {{"i", "go", "h"},
                                           {{"MatMul", "p", "h", "w"},
                                            {"Tanh", "next", "p"},
                                            {"Identity", "on", "go"},
                                            {"Identity", "shown", "next"}},
                                           {"on", "next", "shown"}}) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").open_output("all");
  b.initializer(floats("w", {2, 2}, {0.37F, -1.21F, 2.93F, 1.5F})).initializer(int64s("trips", {3}, true));
  b.initializer(boolean("yes", true));
  b.node("Loop", {"trips", "yes", "x"}, {"y", "all"}, {}, "loop");
  add_body(b, 0, body);
  return b;
}

TEST(Structure, ALoopWithAKnownTripCountIsUnrolled) {
  const ir::Graph g = import_of(with_loop());
  // Three rounds, each of which reads what the one before put out, and their results one after another.
  EXPECT_EQ(ops_of(g), "MatMul Tanh MatMul Tanh MatMul Tanh Reshape Reshape Reshape Concat");
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{1, 2}));
  EXPECT_EQ(g.value(g.outputs[1]).type.shape, (Shape{3, 1, 2}));
  EXPECT_EQ(g.nodes[2].inputs[0], g.nodes[1].outputs[0]);
  EXPECT_EQ(g.nodes[0].inputs[1], g.nodes[4].inputs[1]);
  EXPECT_EQ(g.value(g.nodes[0].inputs[1]).kind, ir::ValueKind::kParameter);  // of all rounds the same
  EXPECT_EQ(g.value(g.outputs[0]).name, "y");
}

TEST(Structure, ALoopEndsWhenItsConditionSaysSo) {
  ModelBuilder b =
      with_loop({{"i", "go", "h"},
                 {{"Less", "on", "i", "one"}, {"Tanh", "next", "h"}, {"Identity", "shown", "next"}},
                 {"on", "next", "shown"}});
  b.initializer(int64s("one", {1}, true));
  EXPECT_EQ(import_of(b).value(import_of(b).outputs[1]).type.shape, (Shape{2, 1, 2}));
  // No rounds at all: the state stays, and of the results nothing says the shape.
  ModelBuilder none = with_loop();
  none.model.mutable_graph()->mutable_initializer(2)->set_int32_data(0, 0);
  expect_says(none, "'all' would be made of no tensors at all");
  // No trip count: the condition alone.
  ModelBuilder endless = with_loop();
  endless.model.mutable_graph()->mutable_node(0)->set_input(0, "");
  expect_says(endless, "have more than 65536 nodes");
}

TEST(Structure, ALoopThatDependsOnTheSamplesIsRefused) {
  ModelBuilder trips = with_loop();
  trips.model.mutable_graph()->mutable_node(0)->set_input(0, "n");
  trips.input("n", {"N"}, TensorProto::INT64);
  expect_says(trips, "operator Loop, opset 17: its trip count (input 0, 'n') depends on the samples");
  ModelBuilder condition =
      with_loop({{"i", "go", "h"},
                 {{"ReduceSum", "s", "h"}, {"Greater", "on", "s", "zero"}, {"Identity", "shown", "h"}},
                 {"on", "shown", "shown"}});
  condition.initializer(floats("zero", {}, {0}));
  expect_says(condition, "whether it goes on, 'loop/body/0/on' depends on the samples");
}

TEST(Structure, WhatABodyCannotDoIsSaidOnce) {
  ModelBuilder b =
      with_loop({{"i", "go", "h"},
                 {{"Nonsense", "next", "h"}, {"Identity", "on", "go"}, {"Identity", "shown", "next"}},
                 {"on", "next", "shown"}});
  const std::string text = refusal(b);
  EXPECT_NE(text.find("loop/body/0/Nonsense#0"), std::string::npos) << text;
  EXPECT_EQ(text.find("loop/body/1"), std::string::npos) << text;
  ModelBuilder inputs =
      with_loop({{"i", "go"}, {{"Tanh", "next", "x"}, {"Identity", "on", "go"}}, {"on", "next", "next"}});
  expect_says(inputs, "its graph 'body' has 2 inputs, expected 3");
  // ONNX's own operators only, inside too.
  ModelBuilder foreign = with_loop();
  foreign.model.mutable_graph()
      ->mutable_node(0)
      ->mutable_attribute(0)
      ->mutable_g()
      ->mutable_node(1)
      ->set_domain("elsewhere");
  expect_says(foreign, "it is of the domain 'elsewhere'");
  // Names of the graphs' values have the node's in front.
  ModelBuilder twice = with_loop();
  twice.open_output("z").node("Loop", {"trips", "yes", "x"}, {"z"}, {}, "loop");
  add_body(twice, 1,
           {{"i", "go", "h"}, {{"Sigmoid", "next", "h"}, {"Identity", "on", "go"}}, {"on", "next"}});
  expect_says(twice, "another node with graphs of its own is called 'loop' too");
  // A graph where an operator has none.
  ModelBuilder graph;
  graph.input("x", {"N", "2"}).open_output("y").node("Tanh", {"x"}, {"y"});
  add_body(graph, 0, {{}, {}, {}});
  expect_says(graph, "it has a graph of its own");
}

// Else a name could mean one thing to the nodes of a body and another outside.
TEST(Structure, ABodyWhoseNamesAreNotClearIsRefused) {
  const std::vector<std::vector<std::string>> nodes = {{"MatMul", "p", "h", "w"},
                                                       {"Add", "next", "p", "h"},
                                                       {"Identity", "on", "go"},
                                                       {"Identity", "shown", "next"}};
  Body unsorted{{"i", "go", "h"}, nodes, {"on", "next", "shown"}};
  std::swap(unsorted.nodes[0], unsorted.nodes[1]);
  ModelBuilder b = with_loop(unsorted);
  b.node("Neg", {"x"}, {"p"});
  expect_says(b, "its graph 'body' reads 'p' before the node that computes it");
  Body twice{{"i", "go", "h"}, nodes, {"on", "next", "shown"}};
  twice.nodes.insert(twice.nodes.begin() + 1, {"Neg", "p", "h"});
  expect_says(with_loop(twice), "its graph 'body' defines 'p' twice");
  twice.nodes[1] = {"Neg", "h", "p"};
  expect_says(with_loop(twice), "its graph 'body' defines 'h' twice");
}

TEST(Structure, NamesInsideAreNotThoseOfOtherTensors) {
  ModelBuilder b = with_loop();
  b.node("Neg", {"x"}, {"loop/body/1/p"}).open_output("loop/body/1/p");
  expect_says(b, "has a tensor 'loop/body/1/p', and so has the network outside");
  // Those of nodes in between are free ones.
  ModelBuilder between = with_loop();
  between.node("Neg", {"x"}, {"loop/#0"}).open_output("loop/#0");
  EXPECT_EQ(import_of(between).nodes.size(), import_of(with_loop()).nodes.size() + 1);
}

// A function that reads `a` in a loop, whose body calls something of its own as the caller calls `a`.
TEST(Structure, ABodysOwnNamesAreNotThoseOfTheCaller) {
  for (const std::string own : {"t", "x", "x_"}) {
    ModelBuilder b = with_loop({{"i", "go", "h"},
                                {{"Mul", own, "h", "a"},
                                 {"Add", "next", own, "a"},
                                 {"Identity", "on", "go"},
                                 {"Identity", "shown", "next"}},
                                {"on", "next", "shown"}});
    auto* f = test::add_function(b, "Repeated", {"trips", "yes", "a"}, {"y", "all"});
    ::onnx::NodeProto* call = b.model.mutable_graph()->mutable_node(0);
    call->set_input(2, "a");
    *f->add_node() = *call;
    call->clear_attribute();
    call->set_input(2, "x");
    call->set_op_type("Repeated");
    call->set_domain("own");
    test::import_own_domain(b);
    const ir::Graph g = import_of(b);
    ASSERT_EQ(ops_of(g), "Mul Add Mul Add Mul Add Reshape Reshape Reshape Concat") << own;
    for (size_t round = 0; round < 3; ++round) {
      EXPECT_EQ(g.nodes[2 * round].inputs[1], g.inputs[0]) << own;
      EXPECT_EQ(g.nodes[2 * round + 1].inputs,
                (std::vector<ir::ValueId>{g.nodes[2 * round].outputs[0], g.inputs[0]}))
          << own;
    }
  }
}

// The output is what the round before last computed.
TEST(Structure, AWeightThatReachesTheOutputARoundLaterTrains) {
  ModelBuilder b =
      with_loop({{"i", "go", "h", "p"},
                 {{"Identity", "next", "p"}, {"MatMul", "later", "x", "w"}, {"Identity", "on", "go"}},
                 {"on", "next", "later"}});
  ::onnx::NodeProto* loop = b.model.mutable_graph()->mutable_node(0);
  loop->add_input("x");
  b.model.mutable_graph()->mutable_output()->RemoveLast();
  const ir::Graph g = import_of(b);
  ASSERT_EQ(ops_of(g), "MatMul");
  EXPECT_EQ(g.value(g.nodes[0].inputs[1]).kind, ir::ValueKind::kParameter);
}

// In the first round nothing that is trained comes before the scale.
TEST(Structure, AScaleBehindTheRoundBeforeTrains) {
  ModelBuilder b = with_loop({{"i", "go", "h"},
                              {{"Mul", "u", "h", "scale"},
                               {"MatMul", "next", "u", "w"},
                               {"Identity", "on", "go"},
                               {"Identity", "shown", "next"}},
                              {"on", "next", "shown"}});
  b.initializer(floats("scale", {2}, {0.7F, 1.9F}));
  const ir::Graph g = import_of(b);
  ASSERT_EQ(g.nodes[0].op, "Mul");
  EXPECT_EQ(g.value(g.nodes[0].inputs[1]).kind, ir::ValueKind::kParameter);
}

// Which may run several times, or never; in registers' type, as those of other norms that are not trained.
TEST(Structure, StatisticsInAGraphOfANodeStayAsTheyAre) {
  for (const std::string op : {"Loop", "If"}) {
    ModelBuilder b = with_loop(
        {{"i", "go", "h"},
         {{"MatMul", "p", op == "Loop" ? "h" : "x", "w"}, {"Identity", "on", op == "Loop" ? "go" : "yes"}},
         {"on", "p", "p"}});
    for (const std::string name : {"scale", "shift", "mean", "var"})
      b.initializer(floats(name, {2}, {1e5F, 3}));
    ::onnx::NodeProto* node = b.model.mutable_graph()->mutable_node(0);
    GraphProto* body = node->mutable_attribute(0)->mutable_g();
    auto* norm = body->add_node();
    norm->set_op_type("BatchNormalization");
    for (const char* name : {"p", "scale", "shift", "mean", "var"}) norm->add_input(name);
    norm->add_output("n");
    for (int k = 1; k < 3; ++k) body->mutable_output(k)->set_name("n");
    if (op == "If") {
      node->set_op_type("If");
      node->clear_input();
      node->add_input("c");
      b.input("c", {}, TensorProto::BOOL);
      body->clear_input();
      body->mutable_output()->DeleteSubrange(0, 1);
      node->mutable_attribute(0)->set_name("then_branch");
      *node->add_attribute() = node->attribute(0);
      node->mutable_attribute(1)->set_name("else_branch");
    }
    const Model m = Model::parse(b.bytes(), "net.onnx");
    for (const TensorRole& role : roles_of(m))
      if (role.name == "mean" || role.name == "var") {
        EXPECT_NE(role.reason.find("a running statistic, which stays as it is"), std::string::npos)
            << op << ": " << role.reason;
      }
    ImportOptions options;
    options.storage = DType::kF16;
    options.mode = ops::Mode::kTrain;
    const ir::Graph g = import(m, options);
    int norms = 0;
    for (const ir::Node& n : g.nodes) {
      if (n.op.find("BatchNorm") == std::string::npos) continue;
      ++norms;
      EXPECT_EQ(n.op, "BatchNormalization") << op;
      for (size_t k = 3; k < 5; ++k) {
        EXPECT_EQ(g.value(n.inputs[k]).kind, ir::ValueKind::kState) << op;
        EXPECT_EQ(g.value(n.inputs[k]).type.dtype, DType::kF32) << op;
      }
    }
    EXPECT_EQ(norms, op == "Loop" ? 3 : 2);
  }
}

// Two weights take turns.
TEST(Structure, AWeightThatIsCarriedIntoAnothersPlaceTrains) {
  ModelBuilder b = with_loop({{"i", "go", "h", "p", "q"},
                              {{"MatMul", "next", "h", "p"},
                               {"Identity", "p2", "q"},
                               {"Identity", "q2", "p"},
                               {"Identity", "on", "go"}},
                              {"on", "next", "p2", "q2"}});
  b.initializer(floats("v", {2, 2}, {0.9F, 0.4F, -1.7F, 2.2F}));
  ::onnx::NodeProto* loop = b.model.mutable_graph()->mutable_node(0);
  for (const char* name : {"w", "v"}) loop->add_input(name);
  loop->set_output(1, "last");
  loop->add_output("before");
  b.model.mutable_graph()->mutable_output()->RemoveLast();
  const ir::Graph g = import_of(b);
  ASSERT_EQ(ops_of(g), "MatMul MatMul MatMul");
  EXPECT_NE(g.nodes[0].inputs[1], g.nodes[1].inputs[1]);
  for (const ir::Node& n : g.nodes) EXPECT_EQ(g.value(n.inputs[1]).kind, ir::ValueKind::kParameter);
}

TEST(Structure, AScanReadsAndStacks) {
  ModelBuilder b;
  b.input("x", {"N", "2", "4"}).open_output("last").open_output("sums");
  b.initializer(floats("start", {1, 4}, {0, 0, 0, 0}));
  b.node("Scan", {"start", "x"}, {"last", "sums"},
         {{"num_scan_inputs", 1},
          {"scan_input_axes", std::vector<int64_t>{1}},
          {"scan_output_axes", std::vector<int64_t>{-1}}},
         "scan");
  add_body(b, 0, {{"s", "e"}, {{"Add", "t", "s", "e"}, {"Neg", "shown", "t"}}, {"t", "shown"}});
  const ir::Graph g = import_of(b);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{1, 4}));
  EXPECT_EQ(g.value(g.outputs[1]).type.shape, (Shape{1, 4, 2}));
  ModelBuilder old(8);
  old.input("x", {"N", "2"}).open_output("y").node("Scan", {"", "x"}, {"y"}, {{"num_scan_inputs", 1}});
  expect_says(old, "Halftone knows this operator from opset 9");
  ModelBuilder wrong = b;
  auto* directions = wrong.model.mutable_graph()->mutable_node(0)->add_attribute();
  *directions = test::Attr("scan_input_directions", std::vector<int64_t>{2}).proto;
  directions->set_name("scan_input_directions");
  expect_says(wrong, "scan_input_directions has the value 2");
}

TEST(Structure, SequencesAreListsOfNames) {
  ModelBuilder b;
  b.input("x", {"N", "6"}).open_output("y").open_output("z");
  b.initializer(int64s("two", {2}, true))
      .initializer(int64s("minus", {-1}, true))
      .initializer(int64s("zero", {0}, true));
  b.node("SplitToSequence", {"x", "two"}, {"parts"}, {{"axis", 1}});
  b.node("Neg", {"x"}, {"n"}).node("SequenceInsert", {"parts", "n", "zero"}, {"four"});
  b.node("SequenceErase", {"four"}, {"three"})
      .node("SequenceAt", {"three", "minus"}, {"second"})
      .node("Tanh", {"second"}, {"y"});
  b.node("ConcatFromSequence", {"three"}, {"z"}, {{"axis", -1}});
  const ir::Graph g = import_of(b);
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{1, 2}));
  EXPECT_EQ(g.value(g.outputs[1]).type.shape, (Shape{1, 10}));
  EXPECT_EQ(ops_of(g), "Split Neg Tanh Concat");
}

TEST(Structure, WhatASequenceCannotBe) {
  const auto made = [](const std::vector<std::vector<std::string>>& nodes) {
    ModelBuilder b;
    b.input("x", {"N", "6"}).open_output("y");
    b.initializer(int64s("three", {3}, true));
    for (const auto& n : nodes) b.node(n[0], std::vector<std::string>(n.begin() + 2, n.end()), {n[1]});
    return b;
  };
  expect_says(made({{"SequenceConstruct", "s", "x"}, {"SequenceAt", "y", "s", "three"}}),
              "position 3 of a sequence of 1 tensors");
  expect_says(made({{"SequenceConstruct", "s", "x"}, {"Tanh", "y", "s"}}), "'s' is a sequence of tensors");
  expect_says(made({{"SequenceConstruct", "y", "x"}}), "output 'y' is a sequence of tensors");
  expect_says(made({{"SequenceAt", "y", "x", "three"}}), "'x' is no sequence of tensors");
  expect_says(made({{"Optional", "o"}, {"OptionalGetElement", "y", "o"}}), "has no element");
  ModelBuilder position =
      made({{"SequenceConstruct", "s", "x", "x"}, {"Cast", "c", "x"}, {"SequenceAt", "y", "s", "c"}});
  auto* to = position.model.mutable_graph()->mutable_node(1)->add_attribute();
  *to = test::Attr("to", 7).proto;
  to->set_name("to");
  expect_says(position, "its position (input 1, 'c') depends on the samples");
}

TEST(Structure, OptionalValuesAndMaps) {
  ModelBuilder b(18);
  b.input("x", {"N", "6"}).open_output("y");
  b.node("Optional", {"x"}, {"o"})
      .node("OptionalHasElement", {"o"}, {"has"})
      .node("OptionalGetElement", {"o"}, {"e"});
  b.node("Cast", {"has"}, {"one"}, {{"to", 1}}).node("Mul", {"e", "one"}, {"p"});
  b.initializer(int64s("two", {2}, true));
  b.node("SplitToSequence", {"p", "two"}, {"parts"}, {{"axis", 1}})
      .node("SequenceMap", {"parts"}, {"mapped"}, {}, "map");
  add_body(b, 6, {{"in"}, {{"Tanh", "out", "in"}}, {"out"}});
  b.node("ConcatFromSequence", {"mapped"}, {"y"}, {{"axis", 1}});
  const ir::Graph g = import_of(b);
  EXPECT_EQ(ops_of(g).substr(ops_of(g).find("Split")), "Split Tanh Tanh Tanh Concat");
}

// The condition is known when the nodes before it are read, not yet with the file; the sequence is the taken
// branch's.
// What a condition is made of is computed before its nodes are checked.
TEST(Structure, AConditionWhoseInputsAreLeftOutIsRefused) {
  const std::vector<std::vector<std::string>> inputs = {{""}, {"", ""}, {"k", ""}, {"", "k"}, {"", "", "k"}};
  for (const std::string op : {"Add", "And", "Cast", "Concat", "Div", "Equal", "Gather", "Greater",
                               "Identity", "Less", "Mod", "Not", "Reshape", "Squeeze", "Unsqueeze", "Xor"}) {
    for (const auto& given : inputs) {
      ModelBuilder b(18);
      b.input("x", {"N", "6"}).open_output("y");
      b.initializer(int64s("k", {1}, true));
      b.node(op, given, {"c"}, {}, "made").node("If", {"c"}, {"y"}, {}, "choice");
      for (const std::string name : {"then_branch", "else_branch"}) {
        auto* a = b.model.mutable_graph()->mutable_node(1)->add_attribute();
        a->set_name(name);
        a->set_type(AttributeProto::GRAPH);
        auto* made = a->mutable_g()->add_node();
        made->set_op_type("Abs");
        made->add_input("x");
        made->add_output("t");
        a->mutable_g()->add_output()->set_name("t");
      }
      const std::string said = refusal(b);  // only of some operators must the second be there
      EXPECT_TRUE(!given[0].empty() || !said.empty()) << op;
    }
  }
}

TEST(Structure, AnIfMayGiveASequence) {
  const auto choice = [](const std::string& condition) {
    ModelBuilder b(18);
    b.input("x", {"N", "6"}).open_output("y");
    b.node("Optional", {"x"}, {"o"})
        .node("OptionalHasElement", {"o"}, {"has"})
        .node("If", {condition}, {"s"}, {}, "choice");
    for (const std::string name : {"then_branch", "else_branch"}) {
      auto* a = b.model.mutable_graph()->mutable_node(2)->add_attribute();
      a->set_name(name);
      a->set_type(AttributeProto::GRAPH);
      auto* made = a->mutable_g()->add_node();
      made->set_op_type("SequenceConstruct");
      for (int i = name == "then_branch" ? 0 : 1; i < 2; ++i) made->add_input("x");
      made->add_output("t");
      a->mutable_g()->add_output()->set_name("t");
    }
    b.node("ConcatFromSequence", {"s"}, {"y"}, {{"axis", 1}});
    return b;
  };
  const ir::Graph g = import_of(choice("has"));
  EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{1, 12}));
  ModelBuilder open = choice("c");
  open.input("c", {}, TensorProto::BOOL);
  expect_says(open, "its branches give sequences of tensors");
}

}  // namespace
}  // namespace halftone::onnx
