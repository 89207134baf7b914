// How long tensors of the store live, and states that nodes write.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"
#include "exec/program.h"
#include "pass/order.h"
#include "pass/training.h"

namespace halftone::exec {
namespace {

using ir::kNone;
using ir::Lifetime;
using ir::Phase;
using ir::ValueId;
using ir::ValueKind;

constexpr int64_t kBatch = 4;
constexpr int64_t kWidth = 3;

ValueId value(ir::Graph& g, ValueKind kind, std::string name, Shape shape) {
  ir::Value v;
  v.name = std::move(name);
  v.kind = kind;
  v.type = {DType::kF32, std::move(shape)};
  return g.add_value(std::move(v));
}

// x -> MatMul w -> batch norm, in training.
ir::Graph network() {
  ir::Graph g;
  ops::Builder b(g, DType::kF32);
  g.inputs = {value(g, ValueKind::kInput, "x", {kBatch, 2})};
  b.set_origin("product");
  const ValueId y = b.add1("MatMul", {g.inputs[0], value(g, ValueKind::kParameter, "w", {2, kWidth})});
  b.set_origin("norm");
  std::vector<ValueId> inputs{y};
  for (const char* name : {"scale", "shift"})
    inputs.push_back(value(g, ValueKind::kParameter, name, {kWidth}));
  for (const char* name : {"mean", "var"}) inputs.push_back(value(g, ValueKind::kState, name, {kWidth}));
  g.outputs = {ops::add_batch_norm(b, inputs, 1e-5, 0.75, ops::Mode::kTrain, ops::BatchNormMode::kTrain)};
  return g;
}

pass::TrainingOptions options() {
  pass::TrainingOptions o;
  o.storage = DType::kF32;
  o.loss.loss = pass::Loss::kMse;
  o.loss.labels = pass::Labels::kTargets;
  o.optimizer.kind = kern::Optimizer::kAdam;
  o.optimizer.rounding = kern::Rounding::kKahan;
  o.accumulate = true;
  return o;
}

struct Training {
  par::Pool pool{1};
  Store store;
  Arena arena;
  pass::NetworkGraph network_graph;
  std::unique_ptr<Program> program;
  ops::StepState state;

  // more: appends nodes to the training graph.
  explicit Training(const std::function<void(ir::Graph&)>& more = {}) {
    network_graph = pass::training_graph(network(), options());
    if (more) more(network_graph.graph);
    program = std::make_unique<Program>(network_graph.graph, kern::active(), kern::Multiply::kWide, pool,
                                        store, arena);
    program->attach();
    state.lr = 0.125F;
    state.good_steps = 1;
    for (auto& [name, tensor] : store.all())
      if (store.lifetime(name) == Lifetime::kCheckpointed && name.find('#') == std::string::npos)
        for (size_t i = 0; i < tensor.as<float>().size(); ++i)
          tensor.as<float>()[i] = 0.5F + 0.25F * static_cast<float>(i);
    store.restore_derived();
    fill(network_graph.inputs[0], kBatch * 2, 0.7F);
    fill(network_graph.losses[0].label, kBatch * kWidth, 1.3F);
  }
  void fill(ValueId id, int64_t n, float by) {
    for (int64_t i = 0; i < n; ++i)
      static_cast<float*>(program->data(id))[i] = std::sin(by * static_cast<float>(i + 1));
  }
  void step() {
    program->run(Phase::kCompute, state);
    program->run(Phase::kUpdate, state);
  }
  std::vector<float> get(const std::string& name) {
    const Tensor* t = store.find(name);
    if (t == nullptr) throw std::logic_error("no tensor is named " + name);
    return {t->as<float>().begin(), t->as<float>().end()};
  }
};

TEST(Lifetimes, AreWhatTheTrainingGraphSays) {
  Training run;
  std::map<Lifetime, std::string> names;
  for (const auto& [name, tensor] : run.store.all()) names[run.store.lifetime(name)] += name + " ";
  EXPECT_EQ(names[Lifetime::kScratch], "scale#gradient_sum shift#gradient_sum w#gradient_sum ");
  EXPECT_EQ(names[Lifetime::kDerived], "mean.pending var.pending ");
  EXPECT_EQ(names[Lifetime::kCheckpointed],
            "mean scale scale#carry scale#momentum scale#variance shift shift#carry shift#momentum "
            "shift#variance var w w#carry "
            "w#momentum w#variance ");
  EXPECT_EQ(run.store.lifetime("unknown"), Lifetime::kCheckpointed);
}

TEST(Lifetimes, DerivedTensorsFollowTheirSourceAndScratchIsCleared) {
  Training run;
  run.program->run(Phase::kCompute, run.state);
  EXPECT_NE(run.get("mean.pending"), run.get("mean")) << "a micro-batch moves it";
  const auto is_zero = [&](const std::string& name) {
    for (const float v : run.get(name))
      if (v != 0) return false;
    return true;
  };
  EXPECT_FALSE(is_zero("w#gradient_sum"));
  const std::vector<float> weights = run.get("w");
  run.store.restore_derived();
  EXPECT_EQ(run.get("mean.pending"), run.get("mean"));
  EXPECT_EQ(run.get("var.pending"), run.get("var"));
  EXPECT_FALSE(is_zero("w#gradient_sum"));
  run.store.clear_scratch();
  EXPECT_TRUE(is_zero("w#gradient_sum"));
  EXPECT_EQ(run.get("w"), weights);
  run.step();
  EXPECT_EQ(run.get("mean.pending"), run.get("mean")) << "settled by the update";
  EXPECT_NE(run.get("w"), weights);
}

TEST(Lifetimes, OfOneTensorAreTheSameInAllPrograms) {
  Store store;
  const ir::Type type{DType::kF32, {2}};
  store.get("a", type, {Lifetime::kScratch, ""});
  EXPECT_NO_THROW(store.get("a", type, {Lifetime::kScratch, ""}));
  EXPECT_NO_THROW(store.get("a", type)) << "who only looks says nothing";
  EXPECT_THROW(store.get("a", type, {}), InternalError);
  EXPECT_THROW(store.get("a", type, {Lifetime::kDerived, "b"}), InternalError);
  store.get("b", type, {});
  store.get("c", type, {Lifetime::kDerived, "b"});
  EXPECT_THROW(store.get("c", type, {Lifetime::kDerived, "d"}), InternalError);
}

TEST(Lifetimes, ATensorIsNotDerivedFromOneThatIsNotThere) {
  Store store;
  store.get("c", {DType::kF32, {2}}, {Lifetime::kDerived, "b"});
  EXPECT_THROW(store.restore_derived(), InternalError);
  store.put("b", Tensor(DType::kF32, {3}));
  EXPECT_THROW(store.restore_derived(), InternalError);
}

// Averages of weights are ordinary nodes: a state that a node of the update writes behind the optimizer,
// which checkpoints then hold.
TEST(Lifetimes, AnAverageOfTheWeightsIsANode) {
  Training plain;
  Training averaged([](ir::Graph& g) {
    const auto find = [&](const std::string& name) {
      for (size_t v = 0; v < g.values.size(); ++v)
        if (g.values[v].name == name) return static_cast<ValueId>(v);
      throw std::logic_error(name);
    };
    ops::Builder b(g, DType::kF32);
    b.set_phase(Phase::kUpdate);
    b.set_origin("average");
    const ValueId scale = find("scale");
    const ValueId shift = find("shift");
    b.add("UpdateStatistics",
          {value(g, ValueKind::kState, "average of scale", {kWidth}),
           value(g, ValueKind::kState, "average of shift", {kWidth}), scale, shift},
          {{"momentum", 0.75}});
    pass::order_nodes(g);
  });
  EXPECT_EQ(averaged.store.lifetime("average of scale"), Lifetime::kCheckpointed);
  std::vector<float> expected = averaged.get("average of scale");
  for (int i = 0; i < 3; ++i) {
    plain.step();
    averaged.step();
    EXPECT_EQ(plain.get("scale"), averaged.get("scale")) << "it changes nothing else";
    for (size_t c = 0; c < expected.size(); ++c)
      expected[c] = 0.75F * expected[c] + 0.25F * averaged.get("scale")[c];
    EXPECT_EQ(averaged.get("average of scale"), expected) << "of the weights behind the step";
  }
}

TEST(Program, RefusesWritesThatNobodyCanOrder) {
  const auto outcome = [](const std::function<void(ir::Graph&, ops::Builder&)>& build) -> std::string {
    ir::Graph g;
    ops::Builder b(g, DType::kF32);
    b.set_origin("node");
    build(g, b);
    par::Pool pool(1);
    Store store;
    Arena arena;
    try {
      const Program program(std::move(g), kern::active(), kern::Multiply::kWide, pool, store, arena);
    } catch (const InternalError& e) {
      return e.what();
    }
    return "accepted";
  };
  const std::string twice = outcome([](ir::Graph& g, ops::Builder& b) {
    const ValueId sum = value(g, ValueKind::kState, "sum", {2});
    for (const char* name : {"a", "b"}) {
      g.inputs.push_back(value(g, ValueKind::kInput, name, {2}));
      b.add("GradientAccumulate", {sum, g.inputs.back()});
    }
  });
  EXPECT_NE(twice.find("write sum in one phase"), std::string::npos) << twice;
  const std::string constant = outcome([](ir::Graph& g, ops::Builder& b) {
    g.inputs = {value(g, ValueKind::kInput, "x", {2})};
    b.add("GradientAccumulate", {b.constant(Tensor(DType::kF32, {2}), "table"), g.inputs[0]});
  });
  EXPECT_NE(constant.find("writes table, which is a constant"), std::string::npos) << constant;
  const std::string view = outcome([](ir::Graph& g, ops::Builder& b) {
    g.inputs = {value(g, ValueKind::kInput, "x", {2})};
    const ValueId s = value(g, ValueKind::kState, "s", {2});
    const ValueId seen = b.reshape(s, {1, 2});
    b.add("GradientAccumulate", {s, g.inputs[0]});
    g.outputs = {b.add1("Neg", {seen})};
  });
  EXPECT_NE(view.find("a view of s, which GradientAccumulate node has written since"), std::string::npos)
      << view;
}

}  // namespace
}  // namespace halftone::exec
