// The memory plan and its independent check, on random graphs.
#include "pass/plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "num/random.h"
#include "ops/op.h"

namespace halftone::pass {
namespace {

using ir::ValueId;

struct Random {
  num::RandomKey key;
  uint64_t draw = 0;
  int64_t below(int64_t n) {
    return static_cast<int64_t>(num::random_below(key, draw++, 0, static_cast<uint64_t>(n)));
  }
};

// Chains and joins of element-wise nodes, reductions and views over tensors of a few sizes.
ir::Graph random_graph(uint64_t seed, int nodes) {
  Random random{num::random_key(seed, 7)};
  ir::Graph graph;
  ops::Builder b(graph, DType::kF32);
  std::vector<ValueId> pool;
  for (const Shape& shape : {Shape{4, 33}, Shape{4, 33}, Shape{7, 100}}) {
    ir::Value input;
    input.name = "input";
    input.kind = ir::ValueKind::kInput;
    input.type = {DType::kF32, shape};
    pool.push_back(graph.add_value(input));
    graph.inputs.push_back(pool.back());
  }
  for (int i = 0; i < nodes; ++i) {
    const ValueId x = pool[static_cast<size_t>(random.below(static_cast<int64_t>(pool.size())))];
    switch (random.below(4)) {
      case 0:
        pool.push_back(b.add1("Relu", {x}));
        break;
      case 1: {
        std::vector<ValueId> same;
        for (const ValueId y : pool)
          if (b.shape(y) == b.shape(x)) same.push_back(y);
        pool.push_back(
            b.add1("Add", {x, same[static_cast<size_t>(random.below(static_cast<int64_t>(same.size())))]}));
        break;
      }
      case 2: {
        const Shape shape = b.shape(x);
        pool.push_back(shape.size() == 2 ? b.reshape(x, {shape[1], 1, shape[0]})
                                         : b.reshape(x, {shape[2], shape[0]}));
        break;
      }
      default: {
        const Shape shape = b.shape(x);
        std::vector<int64_t> perm(shape.size());
        for (size_t k = 0; k < perm.size(); ++k) perm[k] = static_cast<int64_t>(perm.size() - 1 - k);
        pool.push_back(b.transpose(x, perm));
      }
    }
  }
  graph.outputs = {pool.back(), pool[pool.size() / 2]};
  return graph;
}

TEST(Plan, NeverLetsTwoLiveBuffersOverlap) {
  int64_t planned = 0;
  int64_t separate = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const ir::Graph graph = random_graph(seed, 40);
    std::vector<int64_t> scratch(graph.nodes.size(), static_cast<int64_t>(seed) * 13);
    const Plan plan = plan_memory(graph, scratch);
    ASSERT_NO_THROW(check_plan(graph, plan, scratch)) << "seed " << seed;
    planned += plan_memory(graph, std::vector<int64_t>(graph.nodes.size(), 0)).arena_bytes;
    for (const ir::Value& value : graph.values) separate += elements(value.type.shape) * 4;
  }
  EXPECT_LT(planned, separate / 2) << "memory is not reused";
}

// Scratch of many sizes among the values: largest first alone leaves holes.
TEST(Plan, ComesCloseToWhatLivesAtOnce) {
  int64_t planned = 0;
  int64_t live = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const ir::Graph graph = random_graph(seed, 120);
    Random random{num::random_key(seed, 8)};
    std::vector<int64_t> scratch(graph.nodes.size());
    std::vector<int64_t> scratch_first(graph.nodes.size());
    for (size_t i = 0; i < scratch.size(); ++i) {
      scratch[i] = 64 * random.below(100);
      scratch_first[i] = std::max(static_cast<int64_t>(i) - random.below(30), int64_t{0});
    }
    const Plan plan = plan_memory(graph, scratch, scratch_first);
    ASSERT_NO_THROW(check_plan(graph, plan, scratch, scratch_first)) << "seed " << seed;
    ASSERT_GE(plan.arena_bytes, plan.live_bytes) << "seed " << seed;
    planned += plan.arena_bytes;
    live += plan.live_bytes;
  }
  // Fixed seeds: 1.057 times now, 1.087 with largest first alone.
  EXPECT_LT(static_cast<double>(planned), 1.07 * static_cast<double>(live));
}

TEST(CheckPlan, CatchesEveryMovedBufferThatMatters) {
  int caught = 0;
  int tried = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const ir::Graph graph = random_graph(seed, 40);
    const std::vector<int64_t> scratch(graph.nodes.size(), 0);
    const Plan plan = plan_memory(graph, scratch);
    // Put the first node's output where the graph's first input lies, which later nodes read.
    const std::vector<int32_t> uses = graph.use_counts();
    for (const ir::Node& node : graph.nodes) {
      const auto out = static_cast<size_t>(node.outputs[0]);
      const auto in = static_cast<size_t>(graph.inputs[0]);
      int32_t later = 0;
      bool after = false;
      for (const ir::Node& other : graph.nodes) {
        for (const ValueId id : other.inputs)
          if (after && id == graph.inputs[0]) ++later;
        after = after || &other == &node;
      }
      if (later == 0 || uses[out] == 0 || plan.places[out].root != node.outputs[0]) continue;
      Plan broken = plan;
      broken.places[out].offset = plan.places[in].offset;
      if (plan.places[out].offset == plan.places[in].offset) continue;
      ++tried;
      try {
        check_plan(graph, broken, scratch);
      } catch (const InternalError&) {
        ++caught;
      }
      break;
    }
  }
  EXPECT_GT(tried, 20);
  EXPECT_EQ(caught, tried);
}

TEST(CheckPlan, CatchesScratchWithoutRoom) {
  const ir::Graph graph = random_graph(1, 10);
  std::vector<int64_t> scratch(graph.nodes.size(), 64);
  const Plan plan = plan_memory(graph, scratch);
  scratch[3] = 4096;
  EXPECT_THROW(check_plan(graph, plan, scratch), InternalError);
  scratch[3] = 64;
  EXPECT_NO_THROW(check_plan(graph, plan, scratch));
  // On another node's value, which is read later.
  Plan broken = plan;
  const ValueId last = graph.nodes.back().inputs[0];
  broken.scratch_offsets[graph.nodes.size() - 1] = plan.places[static_cast<size_t>(last)].offset;
  EXPECT_THROW(check_plan(graph, broken, scratch), InternalError);
  const auto input = static_cast<size_t>(graph.inputs[0]);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    broken = plan;
    broken.scratch_offsets[i] = plan.places[input].offset;
    bool later = false;
    for (size_t k = i; k < graph.nodes.size(); ++k)
      for (const ValueId id : graph.nodes[k].inputs) later = later || id == graph.inputs[0];
    if (later) {
      EXPECT_THROW(check_plan(graph, broken, scratch), InternalError) << i;
    }
  }
}

TEST(Plan, ScratchThatIsWrittenAheadLivesFromThen) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const ir::Graph graph = random_graph(seed, 40);
    const std::vector<int64_t> scratch(graph.nodes.size(), 640);
    std::vector<int64_t> first;
    for (int64_t i = 0; i < static_cast<int64_t>(graph.nodes.size()); ++i)
      first.push_back(i % 3 == 0 ? std::max<int64_t>(0, i - 2) : i);
    ASSERT_NO_THROW(check_plan(graph, plan_memory(graph, scratch, first), scratch, first)) << "seed " << seed;
  }
}

TEST(CheckPlan, CatchesScratchThatIsOverwrittenBeforeItsNode) {
  const ir::Graph graph = random_graph(1, 10);
  const size_t nodes = graph.nodes.size();
  const std::vector<int64_t> scratch(nodes, 64);
  std::vector<int64_t> first;
  for (size_t i = 0; i < nodes; ++i) first.push_back(static_cast<int64_t>(i));
  first[5] = 3;
  const Plan plan = plan_memory(graph, scratch, first);
  ASSERT_NO_THROW(check_plan(graph, plan, scratch, first));
  for (const size_t other : {size_t{3}, size_t{4}}) {  // the scratch of a node that runs meanwhile
    Plan broken = plan;
    broken.scratch_offsets[other] = plan.scratch_offsets[5];
    EXPECT_THROW(check_plan(graph, broken, scratch, first), InternalError) << other;
    broken = plan;  // what such a node writes
    broken.scratch_offsets[5] = plan.places[static_cast<size_t>(graph.nodes[other].outputs[0])].offset;
    EXPECT_THROW(check_plan(graph, broken, scratch, first), InternalError) << other;
  }
}

TEST(Plan, ScratchTakesRoomThatNobodyUsesMeanwhile) {
  // A large scratch at a node where little is live, and large values elsewhere: they share their bytes.
  ir::Graph graph;
  ops::Builder b(graph, DType::kF32);
  ir::Value input;
  input.name = "input";
  input.kind = ir::ValueKind::kInput;
  input.type = {DType::kF32, {16}};
  const ValueId x = graph.add_value(input);
  graph.inputs = {x};
  const ValueId small = b.add1("Relu", {x});
  const ValueId large = b.add1("Expand", {small}, {{"shape", std::vector<int64_t>{1024, 16}}});
  graph.outputs = {
      b.add1("ReduceSum", {large}, {{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t{0}}})};
  const std::vector<int64_t> scratch{1024 * 64, 0, 0};
  ASSERT_EQ(graph.nodes.size(), scratch.size());
  const Plan plan = plan_memory(graph, scratch);
  check_plan(graph, plan, scratch);
  EXPECT_LE(plan.arena_bytes, 1024 * 64 + 4 * 64);
}

// ---------------------------------------------------------------- what nodes change in place
struct Written {
  ir::Graph graph;
  ops::Builder b{graph, DType::kF32};
  ValueId state, x;
  Written() {
    for (const auto& [name, kind] :
         {std::pair{"s", ir::ValueKind::kState}, std::pair{"x", ir::ValueKind::kInput}}) {
      ir::Value v;
      v.name = name;
      v.kind = kind;
      v.type = {DType::kF32, {6}};
      (kind == ir::ValueKind::kState ? state : x) = graph.add_value(v);
    }
    graph.inputs = {x};
    b.set_origin("node");
  }
  std::string outcome() {
    const std::vector<int64_t> scratch(graph.nodes.size(), 0);
    try {
      check_plan(graph, plan_memory(graph, scratch), scratch);
    } catch (const InternalError& e) {
      return e.what();
    }
    return "accepted";
  }
};

// A network's output and its gradient, which is output 2 of the loss.
struct LossOfLogits {
  Written w;
  ValueId logits = w.b.reshape(w.b.add1("Neg", {w.x}), {2, 3});
  std::vector<ValueId> loss;
  Plan plan(bool logits_read_later) {
    ir::Value labels;
    labels.name = "labels";
    labels.kind = ir::ValueKind::kInput;
    labels.type = {DType::kI32, {2}};
    w.graph.inputs.push_back(w.graph.add_value(labels));
    loss = w.b.add("SoftmaxCrossEntropyLoss", {logits, w.graph.inputs.back()}, {{"label_smoothing", 0.0}});
    w.graph.outputs = loss;
    if (logits_read_later) w.graph.outputs.push_back(w.b.add1("Exp", {logits}));
    EXPECT_EQ(w.outcome(), "accepted");
    return plan_memory(w.graph, std::vector<int64_t>(w.graph.nodes.size(), 0));
  }
};

TEST(Plan, TheGradientOfAnOutputTakesItsPlace) {
  LossOfLogits last;
  const Plan shared = last.plan(false);
  const auto offset = [](const Plan& plan, ValueId id) {
    return plan.places[static_cast<size_t>(id)].offset;
  };
  EXPECT_EQ(offset(shared, last.loss[2]), offset(shared, last.logits));
  LossOfLogits read;
  const Plan apart = read.plan(true);
  EXPECT_NE(offset(apart, read.loss[2]), offset(apart, read.logits));
}

TEST(CheckPlan, OnlyTheDeclaredInputIsWrittenOver) {
  LossOfLogits n;
  Plan plan = n.plan(false);
  const std::vector<int64_t> scratch(n.w.graph.nodes.size(), 0);
  // The losses, of two numbers, over the first of the logits.
  plan.places[static_cast<size_t>(n.loss[0])].offset = plan.places[static_cast<size_t>(n.logits)].offset;
  EXPECT_THROW(check_plan(n.w.graph, plan, scratch), InternalError);
}

TEST(CheckPlan, AViewOfAStateIsNotReadOnceTheStateIsWritten) {
  for (const bool before : {true, false}) {
    Written w;
    const ValueId view = w.b.reshape(w.state, {2, 3});
    if (before) w.graph.outputs.push_back(w.b.add1("Neg", {view}));
    w.b.add("GradientAccumulate", {w.state, w.x});
    if (!before) w.graph.outputs.push_back(w.b.add1("Neg", {view}));
    const std::string outcome = w.outcome();
    EXPECT_NE(
        outcome.find(
            before ? "accepted"
                   : "Neg node reads node:2, a view of s, which GradientAccumulate node has written since"),
        std::string::npos)
        << outcome;
  }
  // One that is made behind the write shows what is there now.
  Written w;
  w.b.add("GradientAccumulate", {w.state, w.x});
  w.graph.outputs = {w.b.add1("Neg", {w.b.reshape(w.state, {2, 3})})};
  EXPECT_EQ(w.outcome(), "accepted");
  // So is an output of the graph.
  Written out;
  out.graph.outputs = {out.b.reshape(out.state, {2, 3})};
  out.b.add("GradientAccumulate", {out.state, out.x});
  EXPECT_NE(out.outcome().find("the end reads node:2"), std::string::npos) << out.outcome();
}

TEST(CheckPlan, ANodeDoesNotReadWhatItWritesUnderAnotherName) {
  Written w;
  const ValueId view = w.b.reshape(w.b.reshape(w.state, {2, 3}), {6});
  w.b.add("GradientAccumulate", {w.state, view});
  EXPECT_NE(w.outcome().find("writes s and reads node:3, which is the same memory"), std::string::npos)
      << w.outcome();
}

TEST(CheckPlan, NothingInTheArenaIsWrittenInPlace) {
  Written w;
  w.b.add("GradientAccumulate", {w.b.add1("Neg", {w.x}), w.x});
  EXPECT_NE(w.outcome().find("writes node:2, which lies in the arena"), std::string::npos) << w.outcome();
}

}  // namespace
}  // namespace halftone::pass
