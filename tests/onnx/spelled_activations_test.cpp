#include "onnx/spelled_activations.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "build_model.h"
#include "onnx/import.h"

namespace halftone::onnx {
namespace {

using test::floats;
using test::ModelBuilder;

// The operators of the graph, in order.
std::string ops_of(ModelBuilder b) {
  b.input("x", {"N", "8"}).open_output("y");
  ImportOptions options;
  options.batch = 4;
  std::string text;
  for (const ir::Node& n : import(Model::parse(b.bytes(), "net.onnx"), options).nodes)
    text += (text.empty() ? "" : " ") + n.op;
  return text;
}
ModelBuilder with_numbers() {
  ModelBuilder b;
  const auto number = [&](const char* name, float value) { b.initializer(floats(name, {}, {value})); };
  number("half", 0.5F);
  number("one", 1.0F);
  number("three", 3.0F);
  number("root2", 1.4142135F);
  number("inverse", 0.70710677F);
  number("slope", 0.7978846F);
  number("cube", 0.044715F);
  number("quick", 1.702F);
  number("other", 0.6F);
  return b;
}

TEST(SpelledActivations, Silu) {
  EXPECT_EQ(ops_of(with_numbers().node("Sigmoid", {"x"}, {"s"}).node("Mul", {"x", "s"}, {"y"})), "Silu");
  EXPECT_EQ(ops_of(with_numbers().node("Sigmoid", {"x"}, {"s"}).node("Mul", {"s", "x"}, {"y"})), "Silu");
}

TEST(SpelledActivations, QuickGelu) {
  EXPECT_EQ(ops_of(with_numbers()
                       .node("Mul", {"x", "quick"}, {"u"})
                       .node("Sigmoid", {"u"}, {"s"})
                       .node("Mul", {"x", "s"}, {"y"})),
            "Swish");
  EXPECT_EQ(ops_of(with_numbers()
                       .node("Mul", {"quick", "x"}, {"u"})
                       .node("Sigmoid", {"u"}, {"s"})
                       .node("Mul", {"s", "x"}, {"y"})),
            "Swish");
}

TEST(SpelledActivations, MishAndSoftplus) {
  EXPECT_EQ(ops_of(with_numbers()
                       .node("Softplus", {"x"}, {"p"})
                       .node("Tanh", {"p"}, {"t"})
                       .node("Mul", {"x", "t"}, {"y"})),
            "Mish");
  EXPECT_EQ(ops_of(with_numbers()
                       .node("Exp", {"x"}, {"e"})
                       .node("Add", {"e", "one"}, {"s"})
                       .node("Log", {"s"}, {"y"})),
            "Softplus");
}

TEST(SpelledActivations, GeluByErfInAnyOrder) {
  const auto gate = [](ModelBuilder b) {
    return b.node("Erf", {"u"}, {"e"}).node("Add", {"e", "one"}, {"g"});
  };
  const ModelBuilder divided = gate(with_numbers().node("Div", {"x", "root2"}, {"u"}));
  const ModelBuilder multiplied = gate(with_numbers().node("Mul", {"x", "inverse"}, {"u"}));
  for (const ModelBuilder& b : {divided, multiplied}) {
    EXPECT_EQ(ops_of(ModelBuilder(b).node("Mul", {"x", "g"}, {"m"}).node("Mul", {"m", "half"}, {"y"})),
              "Gelu");
    EXPECT_EQ(ops_of(ModelBuilder(b).node("Mul", {"x", "half"}, {"h"}).node("Mul", {"h", "g"}, {"y"})),
              "Gelu");
    EXPECT_EQ(ops_of(ModelBuilder(b).node("Mul", {"half", "g"}, {"h"}).node("Mul", {"h", "x"}, {"y"})),
              "Gelu");
    // Another factor is another function.
    EXPECT_EQ(ops_of(ModelBuilder(b).node("Mul", {"x", "g"}, {"m"}).node("Mul", {"m", "other"}, {"y"}))
                  .find("Gelu"),
              std::string::npos);
  }
}

TEST(SpelledActivations, GeluByTanhInAnyOrder) {
  const auto behind = [](ModelBuilder b) {
    return ops_of(b.node("Tanh", {"v"}, {"t"})
                      .node("Add", {"one", "t"}, {"g"})
                      .node("Mul", {"x", "half"}, {"h"})
                      .node("Mul", {"h", "g"}, {"y"}));
  };
  EXPECT_EQ(behind(with_numbers()
                       .node("Pow", {"x", "three"}, {"p"})
                       .node("Mul", {"p", "cube"}, {"q"})
                       .node("Add", {"x", "q"}, {"r"})
                       .node("Mul", {"r", "slope"}, {"v"})),
            "GeluTanh");
  EXPECT_EQ(behind(with_numbers()
                       .node("Mul", {"x", "x"}, {"s"})
                       .node("Mul", {"s", "x"}, {"p"})
                       .node("Mul", {"cube", "p"}, {"q"})
                       .node("Add", {"q", "x"}, {"r"})
                       .node("Mul", {"slope", "r"}, {"v"})),
            "GeluTanh");
  // x slope (1 + cube x^2)
  EXPECT_EQ(behind(with_numbers()
                       .node("Mul", {"x", "cube"}, {"c"})
                       .node("Mul", {"c", "x"}, {"s"})
                       .node("Add", {"s", "one"}, {"r"})
                       .node("Mul", {"x", "slope"}, {"l"})
                       .node("Mul", {"l", "r"}, {"v"})),
            "GeluTanh");
  EXPECT_EQ(behind(with_numbers().node("Mul", {"x", "slope"}, {"v"})).find("GeluTanh"), std::string::npos);
}

TEST(SpelledActivations, WhatOthersReadStays) {
  EXPECT_EQ(ops_of(with_numbers()
                       .node("Sigmoid", {"x"}, {"s"})
                       .node("Mul", {"x", "s"}, {"m"})
                       .node("Add", {"m", "s"}, {"y"})),
            "Sigmoid Mul Add");
  ModelBuilder b = with_numbers().node("Sigmoid", {"x"}, {"s"}).node("Mul", {"x", "s"}, {"y"});
  b.open_output("s");
  EXPECT_EQ(ops_of(b), "Sigmoid Mul");
  // A gated unit: another tensor times the gate.
  EXPECT_EQ(ops_of(with_numbers()
                       .node("Tanh", {"x"}, {"t"})
                       .node("Sigmoid", {"x"}, {"s"})
                       .node("Mul", {"t", "s"}, {"y"})),
            "Tanh Sigmoid Mul");
}

}  // namespace
}  // namespace halftone::onnx
