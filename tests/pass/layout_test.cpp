// Transposes around convolutions meet and go; the function of the graph stays.
#include "pass/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "exec/program.h"
#include "num/random.h"
#include "ops/effects.h"

namespace halftone::pass {
namespace {

using ir::ValueId;

ValueId input(ir::Graph& graph, const Shape& shape) {
  ir::Value value;
  value.name = "x";
  value.kind = ir::ValueKind::kInput;
  value.type = {DType::kF32, shape};
  graph.inputs.push_back(graph.add_value(value));
  return graph.inputs.back();
}

int count(const ir::Graph& graph, const std::string& op) {
  int n = 0;
  for (const ir::Node& node : graph.nodes) n += node.op == op ? 1 : 0;
  return n;
}

std::vector<float> run(const ir::Graph& graph) {
  par::Pool pool(1);
  exec::Store store;
  exec::Arena arena;
  exec::Program program(graph, kern::active(), kern::Multiply::kWide, pool, store, arena);
  program.attach();
  const num::RandomKey key = num::random_key(3, 3);
  auto* x = static_cast<float*>(program.data(graph.inputs[0]));
  const int64_t n = elements(graph.value(graph.inputs[0]).type.shape);
  for (int64_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(num::random16(key, static_cast<uint64_t>(i), 0)) / 32768.0F - 1.0F;
  ops::StepState state;
  program.run(ir::Phase::kCompute, state);
  const int64_t m = elements(graph.value(graph.outputs[0]).type.shape);
  std::vector<float> out(static_cast<size_t>(m));
  std::memcpy(out.data(), program.data(graph.outputs[0]), out.size() * sizeof(float));
  return out;
}

TEST(SinkTransposes, CancelsThroughElementwiseNodes) {
  ir::Graph graph;
  ops::Builder b(graph, DType::kF32);
  const ValueId x = input(graph, {2, 5, 6, 3});
  const ValueId first = b.transpose(x, {0, 3, 1, 2});
  const ValueId relu = b.add1("Relu", {first});
  const ValueId sum = b.add1("Add", {relu, b.add1("Tanh", {first})});
  graph.outputs = {b.transpose(sum, {0, 2, 3, 1})};
  const std::vector<float> before = run(graph);
  sink_transposes(graph, DType::kF32);
  EXPECT_EQ(count(graph, "Transpose"), 0) << ir::print(graph);
  EXPECT_EQ(run(graph), before);
}

TEST(SinkTransposes, KeepsTheFunctionAcrossAxesBroadcastsAndFlatten) {
  ir::Graph graph;
  ops::Builder b(graph, DType::kF32);
  const ValueId x = input(graph, {2, 5, 6, 3});
  const ValueId nchw = b.transpose(x, {0, 3, 1, 2});
  Tensor bias(DType::kF32, {3, 1, 1});
  for (size_t i = 0; i < 3; ++i) bias.as<float>()[i] = 0.25F * static_cast<float>(i + 1);
  const ValueId shifted = b.add1("Add", {nchw, b.constant(std::move(bias))});
  const ValueId scaled = b.add1("Mul", {shifted, b.scalar(2)});
  const ValueId mean =
      b.add1("ReduceMean", {scaled}, {{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", int64_t{1}}});
  const ValueId centred = b.add1("Sub", {scaled, mean});
  const ValueId both = b.add1("Concat", {centred, scaled}, {{"axis", int64_t{1}}});
  graph.outputs = {b.reshape(both, {2, 6 * 5 * 6})};
  const std::vector<float> before = run(graph);
  sink_transposes(graph, DType::kF32);
  ops::remove_dead_nodes(graph);
  EXPECT_EQ(count(graph, "Transpose"), 1) << "only the flattening needs channels first\n" << ir::print(graph);
  const std::vector<float> after = run(graph);
  ASSERT_EQ(after.size(), before.size());
  // A mean in another order of its 30 terms: each partial sum rounds once.
  for (size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(after[i], before[i], 30 * 4 * 0x1p-24);
}

TEST(AbsorbParameterTransposes, StoresTheParameterAsItIsRead) {
  ir::Graph graph;
  ops::Builder b(graph, DType::kF32);
  ir::Value w;
  w.name = "w";
  w.kind = ir::ValueKind::kParameter;
  w.type = {DType::kF32, {4, 3, 2, 2}};
  w.data = std::make_shared<const Tensor>(DType::kF32, Shape{4, 3, 2, 2});
  const ValueId id = graph.add_value(w);
  const ValueId moved = b.transpose(id, {0, 2, 3, 1});
  graph.outputs = {b.add1("Relu", {moved})};
  absorb_parameter_transposes(graph);
  EXPECT_EQ(count(graph, "Transpose"), 0);
  EXPECT_EQ(graph.value(id).type.shape, (Shape{4, 2, 2, 3}));
  EXPECT_EQ(graph.value(id).storage_axes, (std::vector<int64_t>{0, 2, 3, 1}));
}

TEST(AbsorbInputTransposes, TheInputIsFedAsItIsRead) {
  ir::Graph graph;
  ops::Builder b(graph, DType::kF32);
  const ValueId x = input(graph, {2, 3, 5, 6});
  const ValueId relu = b.add1("Relu", {b.transpose(x, {0, 2, 3, 1})});
  graph.outputs = {b.add1("Add", {relu, b.transpose(x, {0, 2, 3, 1})}), b.transpose(x, {0, 2, 3, 1})};
  absorb_input_transposes(graph);
  EXPECT_EQ(count(graph, "Transpose"), 0) << ir::print(graph);
  EXPECT_EQ(graph.value(x).type.shape, (Shape{2, 5, 6, 3}));
  EXPECT_EQ(graph.value(x).storage_axes, (std::vector<int64_t>{0, 2, 3, 1}));
  EXPECT_EQ(graph.outputs[1], x);
  const std::vector<float> sums = run(graph);  // relu(x) + x, of what is fed in this order
  EXPECT_EQ(std::count_if(sums.begin(), sums.end(), [](float v) { return v == 0; }), 0);
  EXPECT_EQ(sums.size(), 180U);
}

TEST(AbsorbInputTransposes, LeavesInputsThatAreReadInAnotherWayToo) {
  using Build = std::function<std::vector<ValueId>(ops::Builder&, ValueId x)>;
  const std::vector<Build> builds{
      // As the network has it, as a loss graph may.
      [](ops::Builder& b, ValueId x) {
        return std::vector<ValueId>{b.transpose(x, {0, 2, 3, 1}), b.add1("Relu", {x})};
      },
      // In two orders.
      [](ops::Builder& b, ValueId x) {
        return std::vector<ValueId>{b.transpose(x, {0, 2, 3, 1}), b.transpose(x, {0, 3, 2, 1})};
      },
      // It is an output.
      [](ops::Builder& b, ValueId x) {
        return std::vector<ValueId>{b.transpose(x, {0, 2, 3, 1}), x};
      },
      // The batch is fed row by row.
      [](ops::Builder& b, ValueId x) {
        return std::vector<ValueId>{b.transpose(x, {1, 0, 2, 3})};
      },
  };
  for (const Build& build : builds) {
    ir::Graph graph;
    ops::Builder b(graph, DType::kF32);
    const ValueId x = input(graph, {2, 3, 5, 6});
    graph.outputs = build(b, x);
    const std::string before = ir::print(graph);
    absorb_input_transposes(graph);
    EXPECT_EQ(ir::print(graph), before);
    EXPECT_TRUE(graph.value(x).storage_axes.empty());
  }
}

}  // namespace
}  // namespace halftone::pass
