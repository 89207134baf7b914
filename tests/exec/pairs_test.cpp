// Nodes that go hand in hand (ops/row_listener.h) give the bits of nodes that run one after the other.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "exec/program.h"
#include "num/random.h"
#include "pass/fuse.h"
#include "pass/training.h"

namespace halftone::exec {
namespace {

using ir::ValueId;

// A convolution, a depthwise one and a 1x1 one with stride, each with its batch norm, and a residual.
ir::Graph network(DType storage) {
  ir::Graph graph;
  ops::Builder b(graph, storage);
  const auto value = [&](const std::string& name, ir::ValueKind kind, const Shape& shape) {
    ir::Value v;
    v.name = name;
    v.kind = kind;
    v.type = {storage, shape};
    return graph.add_value(v);
  };
  const auto conv = [&](ValueId x, const std::string& name, const Shape& w, int64_t stride, int64_t group) {
    const int64_t pad = w[1] / 2;
    return b.add1("Conv", {x, value(name, ir::ValueKind::kParameter, w)},
                  {{"pads", std::vector<int64_t>(4, pad)},
                   {"strides", std::vector<int64_t>(2, stride)},
                   {"dilations", std::vector<int64_t>(2, 1)},
                   {"group", group}});
  };
  const auto norm = [&](ValueId x, const std::string& name) {
    const Shape channels{b.shape(x).back()};
    return b.add("BatchNormTrain", {x, value(name + ".scale", ir::ValueKind::kParameter, channels),
                                    value(name + ".bias", ir::ValueKind::kParameter, channels)})[0];
  };
  graph.inputs = {value("x", ir::ValueKind::kInput, {3, 72, 75, 5})};
  ValueId x = b.add1("Relu", {norm(conv(graph.inputs[0], "w0", {40, 3, 3, 5}, 1, 1), "n0")});
  const ValueId wide = x;
  x = b.add1("Relu", {norm(conv(x, "w1", {40, 3, 3, 1}, 1, 40), "n1")});
  x = norm(conv(x, "w2", {40, 1, 1, 40}, 1, 1), "n2");
  x = b.add1("Relu", {b.add1("Add", {x, wide})});
  x = norm(conv(x, "w3", {18, 3, 3, 20}, 2, 2), "n3");
  graph.outputs = {
      b.add1("ReduceMean", {x}, {{"axes", std::vector<int64_t>{1, 2}}, {"keepdims", int64_t{0}}})};
  pass::fuse(graph);
  return graph;
}

class Pairs : public testing::TestWithParam<std::tuple<kern::Isa, DType, kern::Multiply, int>> {};

TEST_P(Pairs, GiveTheBitsOfOneAfterTheOther) {
  const auto [isa, storage, multiply, threads] = GetParam();
  const std::vector<kern::Isa> runnable = kern::available();
  if (std::find(runnable.begin(), runnable.end(), isa) == runnable.end())
    GTEST_SKIP() << kern::name_of(isa) << ": this CPU can't run it";
  par::Pool pool(threads);
  Store store;
  Arena arena;
  pass::TrainingOptions options;
  options.storage = storage;
  options.loss.loss = pass::Loss::kMse;
  options.loss.labels = pass::Labels::kTargets;
  const pass::NetworkGraph n = pass::gradient_graph(network(storage), options);
  Program program(n.graph, kern::table(isa), multiply, pool, store, arena);
  EXPECT_GE(program.pairs(), 5);
  program.attach();
  uint64_t draw = 0;
  const num::RandomKey key = num::random_key(5, 1);
  const auto fill = [&](void* to, const ir::Type& type, double offset) {
    Tensor values(DType::kF32, type.shape);
    for (float& v : values.as<float>())
      v = static_cast<float>(offset + static_cast<double>(num::random_below(key, draw++, 0, 4096)) / 4096 -
                             0.5);
    const Tensor stored = converted(values, type.dtype);
    std::memcpy(to, stored.data(), static_cast<size_t>(stored.bytes()));
  };
  for (size_t v = 0; v < n.graph.values.size(); ++v) {
    const ir::Value& value = n.graph.values[v];
    const auto id = static_cast<ValueId>(v);
    if (value.kind == ir::ValueKind::kParameter)
      fill(program.data(id), value.type, value.name.find("scale") != std::string::npos ? 1 : 0);
  }
  const auto feed = [&] {  // their memory is used again when they have been read
    draw = 1 << 20;
    fill(program.data(n.inputs[0]), n.graph.value(n.inputs[0]).type, 0);
    fill(program.data(n.losses[0].label), n.graph.value(n.losses[0].label).type, 0);
  };

  ops::StepState state;
  const auto results = [&] {
    std::vector<std::vector<std::byte>> all;
    for (const ValueId id : n.gradients) {
      const auto* p = static_cast<const std::byte*>(program.data(id));
      const ir::Type& type = n.graph.value(id).type;
      all.emplace_back(p, p + elements(type.shape) * size_bytes(type.dtype));
    }
    return all;
  };
  feed();
  program.run(ir::Phase::kCompute, state);
  const auto paired = results();
  feed();
  const auto bad = program.find_non_finite(state);  // runs them one after the other
  ASSERT_FALSE(bad) << bad->op << " " << bad->node << " " << bad->value;
  const auto single = results();
  for (size_t i = 0; i < single.size(); ++i) EXPECT_EQ(paired[i], single[i]) << n.trained[i];
}

INSTANTIATE_TEST_SUITE_P(All, Pairs,
                         testing::Combine(testing::Values(kern::Isa::kReference, kern::Isa::kAvx2,
                                                          kern::Isa::kAvx512),
                                          testing::Values(DType::kF32, DType::kF16),
                                          testing::Values(kern::Multiply::kBlock), testing::Values(1, 3)),
                         [](const auto& test) {
                           return std::string(kern::name_of(std::get<0>(test.param))) + "_" +
                                  std::string(name_of(std::get<1>(test.param))) + "_" +
                                  std::to_string(std::get<3>(test.param));
                         });

}  // namespace
}  // namespace halftone::exec
