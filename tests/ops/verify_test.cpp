// What the verifier refuses because it knows operators: other types than they give, writes that nobody could
// order.
#include "ops/verify.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "base/failing_memory.h"
#include "ops/effects.h"

namespace halftone::ops {
namespace {

using ir::Lifetime;
using ir::Phase;
using ir::ValueKind;

struct Net {
  ir::Graph g;
  Builder b{g, DType::kF32};

  ValueId value(ValueKind kind, std::string name, Shape shape = {3},
                Lifetime lifetime = Lifetime::kCheckpointed) {
    ir::Value v;
    v.name = std::move(name);
    v.kind = kind;
    v.type = {DType::kF32, std::move(shape)};
    v.lifetime = lifetime;
    if (kind == ValueKind::kConstant)
      v.data = std::make_shared<const Tensor>(Tensor(DType::kF32, v.type.shape));
    const ValueId id = g.add_value(std::move(v));
    if (kind == ValueKind::kInput) g.inputs.push_back(id);
    return id;
  }
  ValueId state(std::string name, Lifetime lifetime = Lifetime::kCheckpointed) {
    return value(ValueKind::kState, std::move(name), {3}, lifetime);
  }
  void add(Phase phase, std::string_view op, std::vector<ValueId> inputs) {
    b.set_origin("n" + std::to_string(g.nodes.size()));
    b.set_phase(phase);
    b.add(op, std::move(inputs), op == "OptimizerStep" ? step_attributes() : Attributes{});
    b.set_phase(Phase::kCompute);
  }
  static Attributes step_attributes() {
    return {{"kind", int64_t{0}},  {"rounding", int64_t{0}}, {"weight_decay", 0.0},
            {"momentum", 0.0},     {"nesterov", int64_t{0}}, {"beta1", 0.0},
            {"beta2", 0.0},        {"alpha", 0.0},           {"eps", 0.0},
            {"stream", int64_t{0}}};
  }
};

std::string outcome(const std::function<void(Net&)>& build) {
  Net n;
  build(n);
  try {
    ops::verify(n.g, "the pass");
  } catch (const InternalError& e) {
    EXPECT_NE(std::string(e.what()).find("after the pass"), std::string::npos) << e.what();
    return e.what();
  }
  return "accepted";
}
void expect(const std::string& text, const std::function<void(Net&)>& build) {
  const std::string message = outcome(build);
  EXPECT_NE(message.find(text), std::string::npos) << message;
}

// ---------------------------------------------------------------- types
void two_nodes(Net& n) {
  const ValueId x = n.value(ValueKind::kInput, "x", {4, 3});
  n.b.set_origin("layer");
  const ValueId y = n.b.add1("Relu", {x});
  n.g.outputs = {n.b.add1("ReduceSum", {y}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}})};
}

TEST(VerifyTypes, AreThoseThatTheOperatorsGive) {
  expect("accepted", two_nodes);
  expect("output 0 of Relu layer is recorded as fp32 4x2, and its operator gives fp32 4x3", [](Net& n) {
    two_nodes(n);
    n.g.value(n.g.nodes[0].outputs[0]).type.shape = {4, 2};
  });
  expect("output 0 of ReduceSum layer is recorded as fp16 4, and its operator gives fp32 4", [](Net& n) {
    two_nodes(n);
    n.g.value(n.g.outputs[0]).type.dtype = DType::kF16;
  });
  // A pass that gives a node another input, of a shape that does not fit any more.
  expect("ReduceSum layer does not fit its inputs any more", [](Net& n) {
    two_nodes(n);
    n.g.nodes[1].inputs[0] = n.value(ValueKind::kInput, "scalar", {});
  });
  // Or changes what it does.
  expect("output 0 of ReduceSum layer is recorded as fp32 4, and its operator gives fp32 3", [](Net& n) {
    two_nodes(n);
    n.g.nodes[1].attributes.set("axes", std::vector<int64_t>{0});
  });
  expect("Relu layer has 2 outputs, its operator gives 1", [](Net& n) {
    two_nodes(n);
    n.g.nodes[0].outputs.push_back(n.value(ValueKind::kActivation, "more"));
  });
}

// ---------------------------------------------------------------- writes
TEST(VerifyEffects, OnlyParametersAndStatesAreWritten) {
  for (const auto& [kind, text] :
       {std::pair{ValueKind::kConstant, "writes target, which is a constant"},
        std::pair{ValueKind::kInput, "writes target, which is an input of the graph"},
        std::pair{ValueKind::kState, "accepted"}, std::pair{ValueKind::kParameter, "accepted"}})
    expect(text, [kind = kind](Net& n) {
      n.add(Phase::kCompute, "GradientAccumulate",
            {n.value(kind, "target"), n.value(ValueKind::kInput, "dw")});
    });
  expect("GradientAccumulate n1 writes n0:1, which is the result of a node, which others may read",
         [](Net& n) {
           n.b.set_origin("n0");
           const ValueId y = n.b.add1("Relu", {n.value(ValueKind::kInput, "x")});
           n.add(Phase::kCompute, "GradientAccumulate", {y, n.g.inputs[0]});
           n.g.outputs = {n.b.add1("Neg", {y})};
         });
}

TEST(VerifyEffects, OneNodeOfAPhaseWritesAValue) {
  expect("GradientAccumulate n0 and GradientAccumulate n1 write sum in one phase", [](Net& n) {
    const ValueId sum = n.state("sum");
    for (const char* dw : {"a", "b"})
      n.add(Phase::kCompute, "GradientAccumulate", {sum, n.value(ValueKind::kInput, dw)});
  });
  expect("accepted", [](Net& n) {  // once in each phase
    const ValueId sum = n.state("sum");
    n.add(Phase::kCompute, "GradientAccumulate", {sum, n.value(ValueKind::kInput, "a")});
    n.add(Phase::kUpdate, "OptimizerStep", {sum, n.value(ValueKind::kInput, "b"), kNone, kNone, kNone});
  });
}

TEST(VerifyEffects, WhatANodeWritesIsNoOtherInputOfIt) {
  expect("OptimizerStep n0 writes m, which is another input of it too", [](Net& n) {
    const ValueId m = n.state("m");
    n.add(Phase::kUpdate, "OptimizerStep",
          {n.value(ValueKind::kParameter, "w"), n.value(ValueKind::kInput, "dw"), m, m, kNone});
  });
  expect("GradientAccumulate n0 writes sum", [](Net& n) {
    const ValueId sum = n.state("sum");
    n.add(Phase::kCompute, "GradientAccumulate", {sum, sum});
  });
}

// The backward pass would read other numbers than the forward pass did.
TEST(VerifyEffects, ComputingReadsAValueOnOneSideOfItsWriter) {
  const auto build = [](Net& n, bool before, bool behind, Phase phase) {
    const ValueId s = n.value(ValueKind::kParameter, "s");
    const ValueId x = n.value(ValueKind::kInput, "x");
    if (before) n.add(phase, "Mul", {x, s});
    n.add(phase, "GradientAccumulate", {s, x});
    if (behind) n.add(phase, "Add", {x, s});
  };
  expect("Mul n0 reads s before GradientAccumulate n1 writes it, and Add n2 behind that",
         [&](Net& n) { build(n, true, true, Phase::kCompute); });
  expect("accepted", [&](Net& n) { build(n, true, false, Phase::kCompute); });
  expect("accepted", [&](Net& n) { build(n, false, true, Phase::kCompute); });
  expect("accepted", [&](Net& n) { build(n, true, true, Phase::kUpdate); });
}

// ---------------------------------------------------------------- lifetimes
TEST(VerifyEffects, ScratchIsWrittenBeforeItIsRead) {
  expect("Neg n0 reads sum, which lives for a step, before any node writes it",
         [](Net& n) { n.add(Phase::kCompute, "Neg", {n.state("sum", Lifetime::kScratch)}); });
  expect("Neg n0 reads sum, which lives for a step, before any node writes it", [](Net& n) {
    const ValueId sum = n.state("sum", Lifetime::kScratch);
    n.add(Phase::kCompute, "Neg", {sum});
    n.add(Phase::kCompute, "GradientAccumulate", {sum, n.value(ValueKind::kInput, "dw")});
  });
  expect("accepted", [](Net& n) {  // the phases order them, not the list
    const ValueId sum = n.state("sum", Lifetime::kScratch);
    n.add(Phase::kUpdate, "GradientGuard", {sum});
    n.add(Phase::kCompute, "GradientAccumulate", {sum, n.value(ValueKind::kInput, "dw")});
  });
}

TEST(VerifyEffects, WhatIsDerivedIsSettledByTheUpdate) {
  const auto build = [](Net& n, bool settles) {
    std::vector<ValueId> s;
    for (const char* name : {"mean", "var"}) s.push_back(n.state(name));
    for (const size_t i : {0, 1}) {
      s.push_back(n.state(n.g.value(s[i]).name + "-moving", Lifetime::kDerived));
      n.g.value(s.back()).source = s[i];
    }
    n.add(Phase::kCompute, "UpdateStatistics",
          {s[2], s[3], n.value(ValueKind::kInput, "m"), n.value(ValueKind::kInput, "v")});
    if (settles) n.add(Phase::kUpdate, "CommitStatistics", s);
  };
  expect("accepted", [&](Net& n) { build(n, true); });
  expect("micro-batches move mean-moving, and no node of the update phase makes it equal to mean again",
         [&](Net& n) { build(n, false); });
}

// ---------------------------------------------------------------- the verdict
TEST(VerifyEffects, TheVerdictComesBeforeWhatHeedsIt) {
  const auto step = [](Net& n, const char* w) {
    n.add(Phase::kUpdate, "OptimizerStep",
          {n.value(ValueKind::kParameter, w), n.g.inputs.at(0), kNone, kNone, kNone});
  };
  const auto guard = [](Net& n) { n.add(Phase::kUpdate, "GradientGuard", {n.g.inputs.at(0)}); };
  expect("OptimizerStep n0 heeds the verdict on the step, which GradientGuard n1 gives behind it",
         [&](Net& n) {
           n.value(ValueKind::kInput, "dw");
           step(n, "w");
           guard(n);
         });
  expect("GradientGuard n0 and GradientGuard n1 both give the verdict", [&](Net& n) {
    n.value(ValueKind::kInput, "dw");
    guard(n);
    guard(n);
  });
  expect("accepted", [&](Net& n) {
    n.value(ValueKind::kInput, "dw");
    guard(n);
    step(n, "w");
    step(n, "u");
  });
}

// ---------------------------------------------------------------- dead nodes
std::string ops_of(const ir::Graph& g) {
  std::string out;
  for (const ir::Node& n : g.nodes) out += n.op + " ";
  return out;
}

// Not that a node is wrong.
TEST(VerifyTypes, OfMemoryThatRunsOutNothingElseIsSaid) {
  if (!halftone::test::memory_can_fail()) GTEST_SKIP() << "a sanitizer has its own allocator";
  Net n;
  const ValueId w = n.value(ValueKind::kParameter, "w");
  const ValueId a = n.b.add1("Mul", {n.value(ValueKind::kInput, "x"), w});
  n.g.outputs = {n.b.add1("Relu", {a})};
  n.add(Phase::kUpdate, "OptimizerStep", {w, n.b.add1("Exp", {a}), kNone, kNone, kNone});
  EXPECT_GT(halftone::test::fail_every_allocation([&] {
              ops::verify(n.g, "the pass");
              return 0;
            }),
            10);
}

TEST(RemoveDeadNodes, KeepsWhatIsReadAndWhatHasAnEffect) {
  Net n;
  const ValueId x = n.value(ValueKind::kInput, "x");
  n.add(Phase::kCompute, "Relu", {x});
  const ValueId relu = n.g.nodes.back().outputs[0];
  n.add(Phase::kCompute, "Neg", {relu});  // nobody reads it
  n.add(Phase::kCompute, "Abs", {x});     // read by the one below
  n.add(Phase::kCompute, "GradientAccumulate", {n.state("sum"), n.g.nodes.back().outputs[0]});
  n.add(Phase::kUpdate, "Exp", {x});  // the update alone does not keep it
  n.add(Phase::kUpdate, "Log", {x});
  n.add(Phase::kUpdate, "GradientGuard", {n.g.nodes.back().outputs[0]});
  n.g.outputs = {relu};
  remove_dead_nodes(n.g);
  EXPECT_EQ(ops_of(n.g), "Relu Abs GradientAccumulate Log GradientGuard ");
  remove_effects(n.g);
  remove_dead_nodes(n.g);
  EXPECT_EQ(ops_of(n.g), "Relu ");
}

TEST(RemoveDeadNodes, WhatNobodyReadsGoes) {
  Net n;
  const ValueId x = n.value(ValueKind::kInput, "x");
  const ValueId a = n.b.add1("Mul", {x, n.value(ValueKind::kParameter, "w")});
  n.g.outputs = {n.b.add1("Relu", {a})};
  n.b.add1("Exp", {a});
  remove_dead_nodes(n.g);
  EXPECT_EQ(ops_of(n.g), "Mul Relu ");
}

TEST(RemoveDeadNodes, NodesOfTheUpdateStayWithWhatTheyRead) {
  Net n;
  const ValueId x = n.value(ValueKind::kInput, "x");
  const ValueId w = n.value(ValueKind::kParameter, "w");
  const ValueId a = n.b.add1("Mul", {x, w});
  n.g.outputs = {n.b.add1("Relu", {a})};
  const ValueId dw = n.b.add1("Exp", {a});
  n.add(Phase::kUpdate, "OptimizerStep", {w, dw, kNone, kNone, kNone});
  remove_dead_nodes(n.g);
  EXPECT_EQ(ops_of(n.g), "Mul Relu Exp OptimizerStep ");
}

// The declarations themselves: an operator that begins to write must say so here too.
TEST(Effects, AreDeclaredByTheseOperators) {
  std::map<std::string, std::vector<size_t>> writers;
  std::map<std::string, Verdict> verdicts;
  for (const OpDef* def : all()) {
    if (!def->effects.writes.empty()) writers.emplace(def->name, def->effects.writes);
    if (def->effects.verdict != Verdict::kIgnores) verdicts.emplace(def->name, def->effects.verdict);
  }
  EXPECT_EQ(writers, (std::map<std::string, std::vector<size_t>>{{"AverageStep", {0}},
                                                                 {"CommitStatistics", {0, 1, 2, 3}},
                                                                 {"GradientAccumulate", {0}},
                                                                 {"OptimizerStep", {0, 2, 3, 4}},
                                                                 {"UpdateStatistics", {0, 1}}}));
  EXPECT_EQ(verdicts, (std::map<std::string, Verdict>{{"AverageStep", Verdict::kHeeds},
                                                      {"CommitStatistics", Verdict::kHeeds},
                                                      {"GradientGuard", Verdict::kGives},
                                                      {"OptimizerStep", Verdict::kHeeds}}));
}

}  // namespace
}  // namespace halftone::ops
