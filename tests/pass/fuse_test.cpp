// Batch norms take along what only reads their result; the function and its gradient stay.
#include "pass/fuse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "exec/program.h"
#include "num/random.h"
#include "pass/differentiate.h"

namespace halftone::pass {
namespace {

using ir::ValueId;

constexpr int64_t kRows = 6;
constexpr int64_t kChannels = 5;

double number(uint64_t stream, uint64_t i) {
  return num::random16(num::random_key(9, stream), i, 0) / 32768.0 - 1.0;
}

struct Network {
  ir::Graph graph;
  ops::Builder b{graph, DType::kF64};
  std::vector<ValueId> parameters;

  ValueId input(const Shape& shape = {kRows, kChannels}) {
    ir::Value value;
    value.name = "x" + std::to_string(graph.inputs.size());
    value.kind = ir::ValueKind::kInput;
    value.type = {DType::kF64, shape};
    graph.inputs.push_back(graph.add_value(value));
    return graph.inputs.back();
  }
  ValueId stored(ir::ValueKind kind, double low) {
    ir::Value value;
    value.name = "p" + std::to_string(graph.values.size());
    value.kind = kind;
    value.type = {DType::kF64, {kChannels}};
    Tensor data(DType::kF64, {kChannels});
    for (size_t i = 0; i < kChannels; ++i) data.as<double>()[i] = low + 0.5 * number(graph.values.size(), i);
    value.data = std::make_shared<const Tensor>(std::move(data));
    const ValueId id = graph.add_value(std::move(value));
    if (kind == ir::ValueKind::kParameter) parameters.push_back(id);
    return id;
  }
  ValueId norm(ValueId x, ops::BatchNormMode mode = ops::BatchNormMode::kTrain) {
    const ValueId scale = stored(ir::ValueKind::kParameter, 1);
    const ValueId bias = stored(ir::ValueKind::kParameter, 0);
    const ValueId mean = stored(ir::ValueKind::kState, 0);
    const ValueId var = stored(ir::ValueKind::kState, 1);
    return ops::add_batch_norm(b, {x, scale, bias, mean, var}, 1e-5, 0.9, ops::Mode::kTrain, mode);
  }
  int count(const std::string& op) const {
    int n = 0;
    for (const ir::Node& node : graph.nodes) n += node.op == op ? 1 : 0;
    return n;
  }
};

// The outputs, the parameters' and the inputs' gradients, in double.
std::vector<double> run(Network& n) {
  std::map<ValueId, ValueId> seeds;
  for (const ValueId y : n.graph.outputs) {
    Tensor dy(DType::kF64, n.b.shape(y));
    for (size_t i = 0; i < static_cast<size_t>(dy.size()); ++i) dy.as<double>()[i] = number(77, i);
    seeds[y] = n.b.constant(std::move(dy));
  }
  std::vector<ValueId> wanted = n.parameters;
  wanted.insert(wanted.end(), n.graph.inputs.begin(), n.graph.inputs.end());
  for (const ValueId id : differentiate(n.b, seeds, wanted))
    if (id != ir::kNone) n.graph.outputs.push_back(id);
  par::Pool pool(1);
  exec::Store store;
  exec::Arena arena;
  for (const ir::Value& v : n.graph.values)
    if (v.kind == ir::ValueKind::kParameter || v.kind == ir::ValueKind::kState)
      store.get(v.name, v.type) = v.data->clone();
  exec::Program program(n.graph, kern::table(kern::Isa::kReference), kern::Multiply::kWide, pool, store,
                        arena);
  program.attach();
  uint64_t stream = 0;
  for (const ValueId id : n.graph.inputs)
    for (int64_t i = 0, end = elements(n.graph.value(id).type.shape); i < end; ++i)
      static_cast<double*>(program.data(id))[i] =
          2 * number(stream++ / static_cast<uint64_t>(end) + 100, static_cast<uint64_t>(i));
  ops::StepState state;
  program.run(ir::Phase::kCompute, state);
  std::vector<double> out;
  for (const ValueId id : n.graph.outputs) {
    const auto* p = static_cast<const double*>(program.data(id));
    out.insert(out.end(), p, p + elements(n.graph.value(id).type.shape));
  }
  return out;
}

// Fusing must leave `nodes` of the element-wise kinds, and every number.
void expect_same(const std::function<void(Network&)>& build, int left) {
  Network apart;
  build(apart);
  Network fused;
  build(fused);
  fuse(fused.graph);
  EXPECT_EQ(fused.count("Add") + fused.count("Relu") + fused.count("Clip"), left) << ir::print(fused.graph);
  const std::vector<double> want = run(apart);
  const std::vector<double> got = run(fused);
  ASSERT_EQ(got.size(), want.size());
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    // Double in both; a gradient sums at most 2 * kRows terms of size 10 and less.
    EXPECT_NEAR(got[i], want[i], 1e-13 * 10) << i;
    size += std::abs(want[i]);
  }
  EXPECT_GT(size, 1);
}

TEST(Fuse, TakesReluAndClipAlong) {
  for (const ops::BatchNormMode mode : {ops::BatchNormMode::kTrain, ops::BatchNormMode::kFreeze}) {
    expect_same([&](Network& n) { n.graph.outputs = {n.b.add1("Relu", {n.norm(n.input(), mode)})}; }, 0);
    expect_same(
        [&](Network& n) {
          n.graph.outputs = {n.b.add1("Clip", {n.norm(n.input(), mode)}, {{"alpha", -0.5}, {"beta", 0.75}})};
        },
        0);
  }
}

TEST(Fuse, TakesTheResidualAlong) {
  for (const ops::BatchNormMode mode : {ops::BatchNormMode::kTrain, ops::BatchNormMode::kFreeze}) {
    expect_same(
        [&](Network& n) {
          const ValueId x = n.input();
          n.graph.outputs = {n.b.add1("Relu", {n.b.add1("Add", {n.norm(n.b.add1("Tanh", {x}), mode), x})})};
        },
        0);
    // A linear sum, as MobileNetV2 has them.
    expect_same(
        [&](Network& n) {
          const ValueId x = n.input();
          n.graph.outputs = {n.b.add1("Tanh", {n.b.add1("Add", {x, n.norm(n.b.add1("Tanh", {x}), mode)})})};
        },
        0);
  }
}

// The residual is the result of a batch norm that comes later, as in a ResNet's first blocks.
TEST(Fuse, WaitsForAResidualThatComesLater) {
  expect_same(
      [](Network& n) {
        const ValueId x = n.input();
        const ValueId main = n.norm(n.b.add1("Tanh", {x}));
        const ValueId shortcut = n.norm(x);
        n.graph.outputs = {n.b.add1("Relu", {n.b.add1("Add", {main, shortcut})})};
      },
      0);
}

TEST(Fuse, LeavesWhatOthersReadToo) {
  // The batch norm's result is read twice, and is an output.
  expect_same(
      [](Network& n) {
        const ValueId y = n.norm(n.input());
        n.graph.outputs = {n.b.add1("Relu", {y}), n.b.add1("Tanh", {y})};
      },
      1);
  expect_same(
      [](Network& n) {
        const ValueId y = n.norm(n.input());
        n.graph.outputs = {n.b.add1("Relu", {y}), y};
      },
      1);
  // The sum broadcasts.
  expect_same(
      [](Network& n) {
        const ValueId x = n.input();
        n.graph.outputs = {n.b.add1("Add", {n.norm(x), n.input({1, kChannels})})};
      },
      1);
  // A residual goes with Relu only.
  expect_same(
      [](Network& n) {
        const ValueId x = n.input();
        const ValueId sum = n.b.add1("Add", {n.norm(n.b.add1("Tanh", {x})), x});
        n.graph.outputs = {n.b.add1("Clip", {sum}, {{"alpha", -0.5}, {"beta", 0.75}})};
      },
      1);
}

// What is behind it already is not there twice: a second pass changes nothing.
TEST(Fuse, IsDoneOnce) {
  Network n;
  const ValueId x = n.input();
  const ValueId y = n.b.add1("Relu", {n.norm(x)});
  n.graph.outputs = {n.b.add1("Relu", {n.b.add1("Add", {y, x})})};
  fuse(n.graph);
  const std::string once = ir::print(n.graph);
  EXPECT_EQ(n.count("Add") + n.count("Relu"), 2)
      << "the norm has a Relu: the sum behind that is not its residual\n"
      << once;
  fuse(n.graph);
  EXPECT_EQ(ir::print(n.graph), once);
}

// Clip goes with no residual: the sum is taken, the Clip stays.
TEST(Fuse, TakesOfAChainWhatTheOperatorDeclares) {
  Network n;
  const ValueId x = n.input();
  n.graph.outputs = {n.b.add1("Clip", {n.b.add1("Add", {n.norm(x), x})}, {{"alpha", 0.0}, {"beta", 6.0}})};
  fuse(n.graph);
  EXPECT_EQ(n.count("Add"), 0);
  EXPECT_EQ(n.count("Clip"), 1);
}

// Operators that declare nothing keep what is behind them.
TEST(Fuse, LeavesOtherOperators) {
  Network n;
  const ValueId x = n.input();
  n.graph.outputs = {n.b.add1("Relu", {n.b.add1("Add", {n.b.add1("Tanh", {x}), x})})};
  const std::string before = ir::print(n.graph);
  fuse(n.graph);
  EXPECT_EQ(ir::print(n.graph), before);
}

}  // namespace
}  // namespace halftone::pass
