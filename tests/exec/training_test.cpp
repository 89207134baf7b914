// An optimizer step as a program: exact where it can be, nothing moved by a skipped step, the first bad
// tensor named.
#include "pass/training.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "exec/program.h"

namespace halftone::exec {
namespace {

using ir::ValueId;

constexpr int64_t kBatch = 8;
constexpr int64_t kIn = 3;
constexpr int64_t kOut = 2;

// y = tanh(x w), w a parameter.
ir::Graph network(DType storage) {
  ir::Graph graph;
  ops::Builder b(graph, storage);
  ir::Value x;
  x.name = "x";
  x.kind = ir::ValueKind::kInput;
  x.type = {storage, {kBatch, kIn}};
  graph.inputs = {graph.add_value(x)};
  ir::Value w;
  w.name = "w";
  w.kind = ir::ValueKind::kParameter;
  w.type = {storage, {kIn, kOut}};
  const ValueId weight = graph.add_value(w);
  b.set_origin("product");
  const ValueId product = b.add1("MatMul", {graph.inputs[0], weight});
  b.set_origin("squash");
  graph.outputs = {b.add1("Tanh", {product})};
  return graph;
}

struct Session {
  pass::NetworkGraph graph;
  par::Pool pool;
  Store store;
  Arena arena;
  std::unique_ptr<Program> program;
  ops::StepState state;

  Session(DType storage, double momentum, int threads) : pool(threads) {
    pass::TrainingOptions options;
    options.storage = storage;
    options.loss.loss = pass::Loss::kMse;
    options.loss.labels = pass::Labels::kTargets;
    options.optimizer.momentum = momentum;
    options.optimizer.rounding = kern::Rounding::kNearest;
    graph = pass::training_graph(network(storage), options);
    program =
        std::make_unique<Program>(graph.graph, kern::active(), kern::Multiply::kWide, pool, store, arena);
    program->attach();
    state.lr = 0.5F;
    state.good_steps = 1;
    for (int64_t i = 0; i < kIn * kOut; ++i) weights()[i] = 0.1F * static_cast<float>(i + 1);
    auto* x = static_cast<float*>(program->data(graph.inputs[0]));
    for (int64_t i = 0; i < kBatch * kIn; ++i) x[i] = std::sin(static_cast<float>(i));
    auto* t = static_cast<float*>(program->data(graph.losses[0].label));
    for (int64_t i = 0; i < kBatch * kOut; ++i) t[i] = std::cos(static_cast<float>(i));
  }
  float* weights() { return store.find("w")->as<float>().data(); }
};

// The same step in double, by hand.
std::vector<double> expected(const Session& s, const std::vector<float>& w) {
  const auto* x = static_cast<const float*>(s.program->data(s.graph.inputs[0]));
  const auto* t = static_cast<const float*>(s.program->data(s.graph.losses[0].label));
  std::vector<double> dw(kIn * kOut);
  for (int64_t n = 0; n < kBatch; ++n)
    for (int64_t o = 0; o < kOut; ++o) {
      double z = 0;
      for (int64_t i = 0; i < kIn; ++i) z += double{x[n * kIn + i]} * w[static_cast<size_t>(i * kOut + o)];
      const double y = std::tanh(z);
      const double dz = 2 * (y - t[n * kOut + o]) / (kBatch * kOut) * (1 - y * y);
      for (int64_t i = 0; i < kIn; ++i) dw[static_cast<size_t>(i * kOut + o)] += dz * x[n * kIn + i];
    }
  std::vector<double> out(dw.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = w[i] - 0.5 * dw[i];
  return out;
}

TEST(TrainingProgram, TakesTheStepOfTheFormula) {
  Session s(DType::kF32, 0, 1);
  const std::vector<float> before(s.weights(), s.weights() + kIn * kOut);
  const std::vector<double> wanted = expected(s, before);
  s.program->run(ir::Phase::kCompute, s.state);
  s.program->run(ir::Phase::kUpdate, s.state);
  ASSERT_TRUE(s.state.finite);
  // A handful of roundings of numbers below 1 on the way: 64 units of 2^-24 leave room for tanh's error too.
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_NEAR(s.weights()[i], wanted[i], 64 * 0x1p-24);
    EXPECT_NE(s.weights()[i], before[i]);
  }
}

TEST(TrainingProgram, AnyNumberOfThreadsGivesTheSameBits) {
  std::vector<float> first;
  for (const int threads : {1, 2, 4}) {
    Session s(DType::kF32, 0.9, threads);
    for (int step = 0; step < 5; ++step) {
      s.program->run(ir::Phase::kCompute, s.state);
      s.program->run(ir::Phase::kUpdate, s.state);
      s.state.step++;
    }
    const std::vector<float> w(s.weights(), s.weights() + kIn * kOut);
    if (first.empty()) first = w;
    EXPECT_EQ(std::memcmp(first.data(), w.data(), w.size() * sizeof(float)), 0) << threads;
  }
}

TEST(TrainingProgram, ASkippedStepChangesNothing) {
  Session s(DType::kF32, 0.9, 2);
  s.program->run(ir::Phase::kCompute, s.state);
  s.program->run(ir::Phase::kUpdate, s.state);
  std::map<std::string, std::vector<float>> before;
  for (const auto& [name, tensor] : s.store.all())
    before[name] = {tensor.as<float>().begin(), tensor.as<float>().end()};
  ASSERT_EQ(before.size(), 2U) << "weight and momentum";
  static_cast<float*>(s.program->data(s.graph.inputs[0]))[4] = std::numeric_limits<float>::infinity();
  s.program->run(ir::Phase::kCompute, s.state);
  s.program->run(ir::Phase::kUpdate, s.state);
  EXPECT_FALSE(s.state.finite);
  for (const auto& [name, tensor] : s.store.all())
    EXPECT_EQ(before[name], std::vector<float>(tensor.as<float>().begin(), tensor.as<float>().end())) << name;
}

TEST(TrainingProgram, NamesTheFirstNodeThatIsNotFinite) {
  Session s(DType::kF32, 0, 1);
  EXPECT_FALSE(s.program->find_non_finite(s.state).has_value());
  for (int64_t i = 0; i < kIn * kOut; ++i) s.weights()[i] = 3e38F;
  const auto bad = s.program->find_non_finite(s.state);
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->node, "product");
  EXPECT_EQ(bad->op, "MatMul");
}

TEST(Guard, ClipsByTheNormOfAllGradients) {
  Session s(DType::kF32, 0, 1);
  s.program->run(ir::Phase::kCompute, s.state);
  s.state.clip_norm = 1e-3F;
  s.program->run(ir::Phase::kUpdate, s.state);
  EXPECT_GT(s.state.grad_norm, 1e-3);
  EXPECT_FLOAT_EQ(s.state.clip_coefficient, static_cast<float>(1e-3F / (s.state.grad_norm + 1e-6)));
}

TEST(Store, RefusesAnotherTypeUnderTheSameName) {
  Store store;
  store.get("a", {DType::kF32, {2, 3}});
  EXPECT_THROW(store.get("a", {DType::kF16, {2, 3}}), std::logic_error);
  EXPECT_THROW(store.get("a", {DType::kF32, {3, 2}}), std::logic_error);
  EXPECT_EQ(store.bytes(), 24);
}

}  // namespace
}  // namespace halftone::exec
