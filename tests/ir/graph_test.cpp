#include "ir/graph.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace halftone::ir {
namespace {

// x, w -> a -> y; a is read by `b` too, whose output is not read.
struct Small {
  Graph graph;
  ValueId x = add("x", ValueKind::kInput);
  ValueId w = add("w", ValueKind::kParameter);
  ValueId a = add("a", ValueKind::kActivation);
  ValueId y = add("y", ValueKind::kActivation);
  ValueId b = add("b", ValueKind::kActivation);

  Small() {
    graph.inputs = {x};
    graph.outputs = {y};
    node("Mul", {x, w}, {a});
    node("Relu", {a}, {y});
    node("Exp", {a, kNone}, {b});
  }
  ValueId add(const char* name, ValueKind kind) {
    Value v;
    v.name = name;
    v.type = {DType::kF32, {2, 3}};
    v.kind = kind;
    return graph.add_value(std::move(v));
  }
  Node& node(const char* op, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
    Node n;
    n.op = op;
    n.name = op;
    n.inputs = std::move(inputs);
    n.outputs = std::move(outputs);
    graph.nodes.push_back(std::move(n));
    return graph.nodes.back();
  }
};

void expect_broken(const Graph& graph, const std::string& why) {
  try {
    verify(graph, "the test");
    ADD_FAILURE() << "legal, expected: " << why;
  } catch (const InternalError& e) {
    EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("after the test"), std::string::npos) << e.what();
  }
}

TEST(Graph, KnowsProducersAndUses) {
  const Small s;
  EXPECT_EQ(s.graph.producers(), (std::vector<int32_t>{-1, -1, 0, 1, 2}));
  EXPECT_EQ(s.graph.use_counts(), (std::vector<int32_t>{1, 1, 2, 1, 0}));
}

TEST(Graph, LegalOnesPass) {
  EXPECT_NO_THROW(verify(Small().graph, "the test"));
}

TEST(Graph, NamesWhatIsNotLegal) {
  {
    Small s;
    std::swap(s.graph.nodes[0], s.graph.nodes[1]);
    expect_broken(s.graph, "Relu Relu reads value");
  }
  {
    Small s;
    s.node("Exp", {s.x}, {s.y});
    expect_broken(s.graph, "produces y a second time");
  }
  {
    Small s;
    s.graph.nodes[1].inputs = {99};
    expect_broken(s.graph, "reads value 99");
  }
  {
    Small s;
    s.graph.nodes[1].outputs = {99};
    expect_broken(s.graph, "writes an unknown value");
  }
  {
    Small s;
    s.graph.outputs.push_back(s.add("z", ValueKind::kActivation));
    expect_broken(s.graph, "an output is not produced");
  }
  {
    Small s;
    s.add("c", ValueKind::kConstant);
    expect_broken(s.graph, "constant c has no data");
  }
}

TEST(Graph, PrintsALineANode) {
  const std::string text = print(Small().graph);
  EXPECT_NE(text.find("%2:fp32:2x3 = Mul %0:fp32:2x3 %1:fp32:2x3[w]\n"), std::string::npos) << text;
  EXPECT_NE(text.find("= Exp %2:fp32:2x3 -\n"), std::string::npos) << text;
}

TEST(Value, AnInitialValueIsThereOrRead) {
  Value v;
  EXPECT_FALSE(v.has_initial());
  EXPECT_EQ(v.initial(), nullptr);
  int reads = 0;
  v.load = [&reads] {
    ++reads;
    return int64_tensor({5}, {1});
  };
  EXPECT_TRUE(v.has_initial());
  EXPECT_EQ(reads, 0);
  EXPECT_EQ(to_int64s(*v.initial()), std::vector<int64_t>{5});
  v.data = std::make_shared<Tensor>(int64_tensor({6}, {1}));
  EXPECT_EQ(to_int64s(*v.initial()), std::vector<int64_t>{6});
  EXPECT_EQ(reads, 1);
}

TEST(Attributes, AreReadByTypeAndName) {
  const Attributes a{{"axis", int64_t{-1}},
                     {"epsilon", 0.5},
                     {"axes", std::vector<int64_t>{1, 2}},
                     {"mode", std::string("linear")}};
  EXPECT_EQ(a.int_or("axis", 3), -1);
  EXPECT_EQ(a.int_or("other", 3), 3);
  EXPECT_EQ(a.float_or("epsilon", 1), 0.5);
  EXPECT_EQ(a.ints_at("axes"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(a.string_or("mode", ""), "linear");
  EXPECT_TRUE(a.has("mode"));
  EXPECT_FALSE(a.has("Mode"));
  EXPECT_THROW(a.ints_at("axis"), std::exception);
}

}  // namespace
}  // namespace halftone::ir
