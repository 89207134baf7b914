// What the verifier refuses without knowing operators.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "ir/graph.h"

namespace halftone::ir {
namespace {

ValueId value(Graph& g, ValueKind kind, std::string name = {}, Shape shape = {2}) {
  Value v;
  v.name = name.empty() ? "v" + std::to_string(g.values.size()) : std::move(name);
  v.kind = kind;
  v.type = {DType::kF32, std::move(shape)};
  if (kind == ValueKind::kConstant)
    v.data = std::make_shared<const Tensor>(Tensor(DType::kF32, v.type.shape));
  return g.add_value(std::move(v));
}
void node(Graph& g, std::string op, std::vector<ValueId> inputs, std::vector<ValueId> outputs,
          Phase phase = Phase::kCompute) {
  Node n;
  n.op = std::move(op);
  n.name = "n" + std::to_string(g.nodes.size());
  n.inputs = std::move(inputs);
  n.outputs = std::move(outputs);
  n.phase = phase;
  g.nodes.push_back(std::move(n));
}

// x -> a -> b, with a weight w, its average (state), and a copy of that which moves.
struct Sound {
  Graph g;
  ValueId x, w, average, copy, a, b;
  Sound() {
    x = value(g, ValueKind::kInput, "x");
    w = value(g, ValueKind::kParameter, "w");
    average = value(g, ValueKind::kState, "average");
    copy = value(g, ValueKind::kState, "copy");
    g.value(copy).lifetime = Lifetime::kDerived;
    g.value(copy).source = average;
    a = value(g, ValueKind::kActivation, "a");
    b = value(g, ValueKind::kActivation, "b");
    g.inputs = {x};
    node(g, "Mul", {x, w}, {a});
    node(g, "Add", {a, kNone}, {b});
    g.outputs = {b};
  }
};

std::string refused(const std::function<void(Sound&)>& change) {
  Sound s;
  EXPECT_NO_THROW(verify(s.g, "nothing"));
  change(s);
  try {
    verify(s.g, "the pass");
  } catch (const InternalError& e) {
    EXPECT_NE(std::string(e.what()).find("after the pass"), std::string::npos) << e.what();
    return e.what();
  }
  return "accepted";
}
void expect(const std::string& text, const std::function<void(Sound&)>& change) {
  const std::string message = refused(change);
  EXPECT_NE(message.find(text), std::string::npos) << message;
}

TEST(Verify, ValuesAreMadeOnceAndBeforeTheyAreRead) {
  expect("Add n1 reads value", [](Sound& s) { std::swap(s.g.nodes[0], s.g.nodes[1]); });
  expect("Mul n0 reads value 77", [](Sound& s) { s.g.nodes[0].inputs[1] = 77; });
  expect("writes an unknown value", [](Sound& s) { s.g.nodes[0].outputs[0] = 77; });
  expect("produces a a second time", [](Sound& s) { node(s.g, "Neg", {s.x}, {s.a}); });
  expect("produces w a second time", [](Sound& s) { node(s.g, "Neg", {s.x}, {s.w}); });
  expect("an output is not produced", [](Sound& s) { s.g.outputs = {value(s.g, ValueKind::kActivation)}; });
  expect("constant c has no data",
         [](Sound& s) { s.g.value(value(s.g, ValueKind::kConstant, "c")).data = nullptr; });
}

TEST(Verify, TheComputePhaseDoesNotReadWhatTheUpdateMakes) {
  expect("Neg n2 computes with b, which only the update makes", [](Sound& s) {
    s.g.nodes[1].phase = Phase::kUpdate;
    node(s.g, "Neg", {s.b}, {value(s.g, ValueKind::kActivation)});
  });
}

TEST(Verify, PersistentValuesHaveNamesOfTheirOwn) {
  expect("two persistent values are called 'w'", [](Sound& s) { value(s.g, ValueKind::kParameter, "w"); });
  expect("two persistent values are called 'average'",
         [](Sound& s) { value(s.g, ValueKind::kParameter, "average"); });
  expect("accepted", [](Sound& s) { value(s.g, ValueKind::kActivation, "w"); });
}

TEST(Verify, LifetimesFit) {
  expect("a has a lifetime that only states have",
         [](Sound& s) { s.g.value(s.a).lifetime = Lifetime::kScratch; });
  expect("w has a lifetime that only states have",
         [](Sound& s) { s.g.value(s.w).lifetime = Lifetime::kScratch; });
  expect("accepted", [](Sound& s) {
    s.g.value(s.copy).lifetime = Lifetime::kScratch;
    s.g.value(s.copy).source = kNone;
  });
  expect("copy is derived, but of no value", [](Sound& s) { s.g.value(s.copy).source = kNone; });
  expect("average has a source, but is not derived", [](Sound& s) { s.g.value(s.average).source = s.w; });
  expect("copy is derived from an unknown value", [](Sound& s) { s.g.value(s.copy).source = 77; });
  expect("copy is derived from a, which is not checkpointed",
         [](Sound& s) { s.g.value(s.copy).source = s.a; });
  expect("copy is derived from average, which is not checkpointed",
         [](Sound& s) { s.g.value(s.average).lifetime = Lifetime::kScratch; });
  expect("copy is fp32 2 and derived from average, which is fp32 3",
         [](Sound& s) { s.g.value(s.average).type.shape = {3}; });
}

}  // namespace
}  // namespace halftone::ir
