// What pass/watch.h claims is what happens: infinities and NaNs are put into values of random networks.
#include "pass/watch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>

#include "base/error.h"
#include "exec/program.h"
#include "ops/resample.h"
#include "pass/training.h"

namespace halftone::exec {
namespace {

using ir::ValueId;
using pass::Outcome;

constexpr int64_t kBatch = 4;
constexpr int64_t kClasses = 3;

// A network of random operators over images, channels last.
class RandomNetwork {
 public:
  RandomNetwork(uint64_t seed, DType storage) : random_(seed), storage_(storage) {}

  ir::Graph make() {
    ops::Builder b(graph_, storage_);
    graph_.inputs = {add("x", ir::ValueKind::kInput, {kBatch, 6, 6, 4})};
    ValueId x = graph_.inputs[0];
    ValueId earlier = x;
    const int64_t count = 3 + pick(8);
    for (int64_t i = 0; i < count; ++i) {
      b.set_origin("node" + std::to_string(i));
      const ValueId before = x;
      x = step(b, x, earlier);
      if (pick(2) == 0) earlier = before;
    }
    const Shape s = b.shape(x);
    const int64_t features = elements(s) / kBatch;
    b.set_origin("head");
    x = b.reshape(x, {kBatch, features});
    graph_.outputs = {b.add1("MatMul", {x, weight({features, kClasses})})};
    return std::move(graph_);
  }

 private:
  int64_t pick(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  ValueId add(const std::string& name, ir::ValueKind kind, const Shape& shape) {
    ir::Value v;
    v.name = name;
    v.kind = kind;
    v.type = {storage_, shape};
    return graph_.add_value(std::move(v));
  }
  ValueId weight(const Shape& shape) {
    return add("w" + std::to_string(weights_++), ir::ValueKind::kParameter, shape);
  }
  ValueId statistic(int64_t channels) {
    const ValueId id = add("s" + std::to_string(weights_++), ir::ValueKind::kState, {channels});
    graph_.value(id).type.dtype = register_type(storage_);
    return id;
  }
  ValueId constant(ops::Builder& b, float value) {
    Tensor t(DType::kF32, {1});
    t.as<float>()[0] = value;
    return b.constant(std::move(t));
  }

  ValueId step(ops::Builder& b, ValueId x, ValueId earlier) {
    const Shape s = b.shape(x);
    const int64_t c = s.back();
    static const char* const kUnary[] = {"Relu",
                                         "LeakyRelu",
                                         "Elu",
                                         "Sigmoid",
                                         "Tanh",
                                         "HardSigmoid",
                                         "HardSwish",
                                         "Clip",
                                         "Softplus",
                                         "Erf",
                                         "Gelu",
                                         "Silu",
                                         "GeluTanh",
                                         "Sqrt",
                                         "Neg",
                                         "Exp",
                                         "Log",
                                         "Abs",
                                         "Reciprocal",
                                         "PowScalar",
                                         "MinZero",
                                         "Scale",
                                         "Sin",
                                         "Cos",
                                         "Tan",
                                         "Asin",
                                         "Acos",
                                         "Atan",
                                         "Sinh",
                                         "Cosh",
                                         "Asinh",
                                         "Acosh",
                                         "Atanh",
                                         "Softsign",
                                         "Selu",
                                         "Celu",
                                         "ThresholdedRelu",
                                         "Shrink",
                                         "Mish",
                                         "Swish",
                                         "Sign",
                                         "Floor",
                                         "Ceil",
                                         "Round"};
    switch (pick(19)) {
      case 0:
      case 1: {
        const int64_t kernel = pick(2) == 0 ? 1 : std::min<int64_t>(3, s[1]);
        const int64_t stride = s[1] > 3 ? 1 + pick(2) : 1;
        const bool depthwise = pick(3) == 0;
        const ValueId y = b.add1("Conv", {x, weight({depthwise ? c : 4, kernel, kernel, depthwise ? 1 : c})},
                                 {{"pads", std::vector<int64_t>(4, kernel == 3 ? pick(2) : 0)},
                                  {"strides", std::vector<int64_t>(2, stride)},
                                  {"dilations", std::vector<int64_t>(2, 1)},
                                  {"group", depthwise ? c : int64_t{1}}});
        return y;
      }
      case 2:
      case 3: {
        const bool frozen = pick(2) == 0;
        const ValueId y = ops::add_batch_norm(
            b, {x, weight({c}), weight({c}), statistic(c), statistic(c)}, 1e-3, 0.9, ops::Mode::kTrain,
            frozen ? ops::BatchNormMode::kFreeze : ops::BatchNormMode::kTrain);
        return pick(2) == 0 && b.shape(earlier) == s ? b.add1("Relu", {b.add1("Add", {y, earlier})}) : y;
      }
      case 4: {  // a norm in nodes
        const ValueId square = b.add1("PowScalar", {x}, {{"alpha", 2.0}, {"beta", 0.0}});
        const ValueId mean =
            b.add1("ReduceMean", {square}, {{"axes", std::vector<int64_t>{3}}, {"keepdims", int64_t{1}}});
        const ValueId eps = b.add1("Scale", {mean}, {{"alpha", 1.0}, {"beta", 1e-2}});
        return b.add1("Div", {x, b.add1("Sqrt", {eps})});
      }
      case 5: {  // a sigmoid in nodes
        const ValueId e = b.add1("Exp", {b.add1("Neg", {x})});
        const ValueId below = b.add1("Add", {e, constant(b, 1)});
        return pick(2) == 0 ? b.add1("Reciprocal", {below}) : b.add1("Div", {constant(b, 1), below});
      }
      case 6:
        if (b.shape(earlier) == s) {
          static const char* const kBinary[] = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Fmod"};
          return b.add1(kBinary[pick(8)], {x, earlier});
        }
        return b.add1("Softmax", {x});
      case 7:
        if (s[1] < 3) return b.add1("LogSoftmax", {x});
        return b.add1(pick(2) == 0 ? "MaxPool" : "AveragePool", {x},
                      {{"kernel", std::vector<int64_t>(2, 1 + pick(3))},
                       {"strides", std::vector<int64_t>(2, 1 + pick(2))},
                       {"dilations", std::vector<int64_t>(2, 1)},
                       {"pads", std::vector<int64_t>(4, 0)},
                       {"ceil_mode", int64_t{0}},
                       {"count_include_pad", int64_t{0}}});
      case 8: {
        Shape half = s;
        half.back() = c / 2 + c % 2;
        const ValueId y = b.add1(
            "Slice", {x},
            {{"starts", std::vector<int64_t>(4, 0)}, {"sizes", half}, {"steps", std::vector<int64_t>(4, 1)}});
        return pick(2) == 0 ? y : b.add1("Concat", {y, x}, {{"axis", int64_t{3}}});
      }
      case 9: {  // rows in another order, or added up
        Tensor rows(DType::kI32, {s[2]});
        for (int32_t& row : rows.as<int32_t>()) row = static_cast<int32_t>(pick(s[2]));
        ir::Attributes a{{"outer", s[0] * s[1]}, {"rows", s[2]}, {"run", c}, {"shape", s}};
        const ValueId at = b.constant(std::move(rows));
        if (pick(2) == 0 || b.shape(earlier) != s) return b.add1("GatherRows", {x, at}, a);
        a.set("op", std::string(pick(2) == 0 ? "add" : "last"));
        return b.add1("ScatterRows", {x, at, earlier}, a);
      }
      case 10: {
        const ValueId condition = b.add1("Compare", {x, constant(b, 0)}, {{"op", std::string("Less")}});
        return b.add1("Where", {condition, x, b.shape(earlier) == s ? earlier : constant(b, 0.5F)});
      }
      case 11:
        return b.add1("CumSum", {x}, {{"axis", 1 + pick(3)}, {"exclusive", pick(2)}, {"reverse", pick(2)}});
      case 12: {  // selected, averaged, or with negative weights; not all of x, perhaps
        ops::AxisTable t;
        t.axis = 1 + pick(2);
        const int64_t n = s[static_cast<size_t>(t.axis)];
        const int64_t kind = pick(3);
        const int64_t size = 1 + pick(7);
        for (int64_t j = 0; j < size; ++j) {
          t.tap(j % n, kind == 0 ? 1 : kind == 1 ? 0.5 : 1.25);
          if (kind > 0) t.tap((j + 1) % n, kind == 1 ? 0.25 : -0.25);
          t.end();
        }
        return ops::add_resample(b, x, {t}, ops::Layout::kAsItIs);
      }
      case 13: {  // a transposed convolution
        if (s[1] > 6 || s[2] > 6) return b.add1("Relu", {x});
        const int64_t kernel = 1 + pick(3);
        const int64_t stride = 1 + pick(2);
        const int64_t pad = kernel == 3 ? pick(2) : 0;
        const auto size = [&](int64_t n) { return (n - 1) * stride + kernel - 2 * pad; };
        if (size(s[1]) < 1 || size(s[2]) < 1) return b.add1("Relu", {x});
        return b.add1("ConvGradInput", {x, weight({c, kernel, kernel, 4})},
                      {{"pads", std::vector<int64_t>(4, pad)},
                       {"strides", std::vector<int64_t>(2, stride)},
                       {"dilations", std::vector<int64_t>(2, 1)},
                       {"group", int64_t{1}},
                       {"shape", Shape{kBatch, size(s[1]), size(s[2]), 4}}});
      }
      case 14:
      case 15: {  // a row's number beside, or over, its elements
        static const char* const kRows[] = {"ReduceMax",    "ReduceMin",      "ReduceProd",
                                            "ReduceL1",     "ReduceL2",       "ReduceSumSquare",
                                            "ReduceLogSum", "ReduceLogSumExp"};
        Shape column = s;
        column.back() = 1;
        const ValueId y = b.reshape(b.add1(kRows[pick(8)], {x}), column);
        return pick(3) == 0 ? b.add1("Hardmax", {x}) : b.add1(pick(2) == 0 ? "Add" : "Mul", {x, y});
      }
      case 16: {  // attention of pixels among each other
        const ValueId k = b.reshape(x, {s[0], s[1] * s[2], c});
        const ValueId q = pick(2) == 0 ? k : b.add1("MatMul", {k, weight({c, c})});
        ValueId scores =
            b.add1("MatMul", {q, k}, {{"trans_b", int64_t{1}}, {"alpha", pick(2) == 0 ? 1.0 : 0.25}});
        if (pick(2) == 0) scores = b.add1("Scale", {scores}, {{"alpha", 0.5}, {"beta", 0.0}});
        if (pick(2) == 0) scores = b.add1("Add", {constant(b, -0.5F), scores});
        return b.reshape(b.add1("MatMul", {b.add1("Softmax", {scores}), k}), s);
      }
      default: {
        const std::string op = kUnary[pick(std::size(kUnary))];
        double alpha = 0.5;
        double beta = 0.25;
        if (op == "Clip") alpha = pick(2) == 0 ? 0 : -INFINITY, beta = pick(2) == 0 ? 6 : INFINITY;
        if (op == "PowScalar") alpha = std::vector<double>{2, 1, 3, 0.5, -1, 0}[static_cast<size_t>(pick(6))];
        if (op == "Scale")
          alpha = std::vector<double>{2, 0.5, -1, 0}[static_cast<size_t>(pick(4))], beta = pick(2);
        if (op == "LeakyRelu" && pick(4) == 0) alpha = 0;
        return b.add1(op, {x}, {{"alpha", alpha}, {"beta", beta}});
      }
    }
  }

  std::mt19937_64 random_;
  DType storage_;
  ir::Graph graph_;
  int weights_ = 0;
};

struct Session {
  pass::NetworkGraph network;
  par::Pool pool{1};
  Store store;
  Arena arena;
  std::unique_ptr<Program> program;
  ops::StepState state;
  pass::Watch watch;
  Tensor sample, label;

  // Small numbers in everything; some weights frozen.
  Session(uint64_t seed, DType storage, kern::Multiply multiply) {
    std::mt19937_64 random(seed + 1);
    pass::TrainingOptions options;
    options.storage = storage;
    if (random() % 2 == 0) {
      options.loss.loss = pass::Loss::kMse;
      options.loss.labels = pass::Labels::kTargets;
    }
    ir::Graph graph = RandomNetwork(seed, storage).make();
    if (random() % 3 == 0)
      for (const ir::Value& v : graph.values)
        if (v.kind == ir::ValueKind::kParameter && random() % 2 == 0) options.frozen.insert(v.name);
    network = pass::training_graph(std::move(graph), options);
    program = std::make_unique<Program>(network.graph, kern::active(), multiply, pool, store, arena);
    watch = pass::watch(program->graph(), {network.losses[0].loss}, multiply);
    program->attach();
    state.good_steps = 1;
    for (auto& [name, tensor] : store.all()) {
      Tensor values(DType::kF32, tensor.shape());
      for (float& x : values.as<float>())
        x = name[0] == 's' ? 1.0F : static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
      const Tensor stored = converted(values, tensor.dtype());
      std::memcpy(tensor.data(), stored.data(), static_cast<size_t>(tensor.bytes()));
    }
    sample = random_input(network.inputs[0], random);
    label = random_input(network.losses[0].label, random);
  }

  Tensor random_input(ValueId id, std::mt19937_64& random) const {
    const ir::Type& type = program->graph().value(id).type;
    if (type.dtype == DType::kI32) {
      Tensor classes(DType::kI32, type.shape);
      for (int32_t& c : classes.as<int32_t>()) c = static_cast<int32_t>(random() % kClasses);
      return classes;
    }
    Tensor values(DType::kF32, type.shape);
    for (float& x : values.as<float>()) x = static_cast<float>(random() % 2000) / 1000.0F + 0.05F;
    return converted(values, type.dtype);
  }
  void feed(ValueId id, const Tensor& values) {
    std::memcpy(program->data(id), values.data(), static_cast<size_t>(values.bytes()));
  }

  bool finite(ValueId id) const { return program->all_finite(id); }

  struct Ran {
    bool noticed = false;        // by the loss, a gradient, or a value that is looked at
    std::vector<std::byte> end;  // loss and gradients
  };
  // The compute phase, with `bits` in place of an element of a value as soon as that is there.
  Ran run(ValueId target, int64_t element, uint16_t bits) {
    const std::vector<Tensor> pending = states();
    Ran r;
    const auto& nodes = program->graph().nodes;
    const auto poke = [&] { static_cast<uint16_t*>(program->data(target))[element] = bits; };
    const auto look = [&](ValueId id) {
      if (std::binary_search(watch.always.begin(), watch.always.end(), id) && !finite(id)) r.noticed = true;
    };
    feed(network.inputs[0], sample);
    feed(network.losses[0].label, label);
    if (target == network.inputs[0]) {
      poke();
      look(target);
    }
    for (size_t n = 0; n < nodes.size(); ++n) {
      if (nodes[n].phase != ir::Phase::kCompute) continue;
      program->run_node(static_cast<int64_t>(n), state);
      for (size_t k = 0; k < nodes[n].outputs.size(); ++k) {
        const ValueId id = nodes[n].outputs[k];
        if (id == ir::kNone || !program->computes(static_cast<int64_t>(n), k)) continue;
        if (id == target) poke();
        look(id);
      }
    }
    const auto keep = [&](ValueId id) {
      r.noticed = r.noticed || !finite(id);
      const ir::Type& type = program->graph().value(id).type;
      const auto* from = static_cast<const std::byte*>(program->data(id));
      r.end.insert(r.end.end(), from, from + elements(type.shape) * size_bytes(type.dtype));
    };
    keep(network.losses[0].loss);
    for (const ir::Node& node : nodes)
      if (node.op == "GradientGuard")
        for (const ValueId id : node.inputs) keep(id);
    size_t i = 0;
    for (auto& [name, tensor] : store.all())
      std::memcpy(tensor.data(), pending[i++].data(), static_cast<size_t>(tensor.bytes()));
    return r;
  }
  std::vector<Tensor> states() {
    std::vector<Tensor> copies;
    for (auto& [name, tensor] : store.all()) copies.push_back(converted(tensor, tensor.dtype()));
    return copies;
  }
};

TEST(Watch, WhatIsSaidToBeSeenIsSeenAndWhatIsSettledChangesNothing) {
  int seen = 0, settled = 0, looked_at = 0, networks = 0;
  for (uint64_t seed = 0; networks < 150 && seed < 1000; ++seed) {
    const DType storage = seed % 4 == 3 ? DType::kBf16 : DType::kF16;
    const kern::Multiply multiply = seed % 2 == 0 ? kern::Multiply::kBlock : kern::Multiply::kWide;
    std::optional<Session> made;
    try {
      made.emplace(seed, storage, multiply);
    } catch (const Error&) {
      continue;  // a shape that an operator refuses
    }
    Session& s = *made;
    const uint16_t nan = storage == DType::kF16 ? 0x7E00 : 0x7FC0;
    const uint16_t infinity = storage == DType::kF16 ? 0x7C00 : 0x7F80;
    const uint16_t largest = infinity - 1;
    const uint16_t minus = 0x8000;
    if (s.run(s.network.inputs[0], 0, 0x3C00).noticed)
      continue;  // not finite anyway: logarithms of negative numbers
    ++networks;
    looked_at += static_cast<int>(s.watch.always.size());
    std::mt19937_64 random(seed);
    const ir::Graph& graph = s.program->graph();
    std::vector<ValueId> targets{s.network.inputs[0]};
    for (const ir::Node& node : graph.nodes) {
      if (graph.value(node.outputs.empty() ? 0 : node.outputs[0]).name ==
          graph.value(s.network.losses[0].loss).name)
        break;
      if (ops::find(node.op).alias != ops::Alias::kView && !node.outputs.empty())
        targets.push_back(node.outputs[0]);
    }
    for (const ValueId v : targets) {
      const ir::Type& type = graph.value(v).type;
      if (!is_16bit(type.dtype)) continue;
      const uint16_t bits[] = {nan, infinity, static_cast<uint16_t>(infinity | minus)};
      for (size_t kind = 0; kind < 3; ++kind) {
        const Outcome outcome = s.watch.outcomes[static_cast<size_t>(v)][kind];
        const bool itself = std::binary_search(s.watch.always.begin(), s.watch.always.end(), v);
        for (int again = 0; again < 2; ++again) {
          const int64_t element =
              static_cast<int64_t>(random() % static_cast<uint64_t>(elements(type.shape)));
          const auto bad = s.run(v, element, bits[kind]);
          if (itself || outcome == Outcome::kSeen) {
            ++seen;
            EXPECT_TRUE(bad.noticed) << "seed " << seed << ", " << graph.value(v).name << ", kind " << kind
                                     << "\n"
                                     << ir::print(graph);
          } else if (outcome == Outcome::kSettled && kind > 0 && !bad.noticed) {
            ++settled;
            const auto large = s.run(v, element, static_cast<uint16_t>(largest | (bits[kind] & minus)));
            EXPECT_TRUE(large.noticed || bad.end == large.end)
                << "seed " << seed << ", " << graph.value(v).name << ", kind " << kind << "\n"
                << ir::print(graph);
          }
          if (HasFailure()) return;
        }
      }
    }
  }
  EXPECT_EQ(networks, 150);
  EXPECT_GT(seen, 1000);
  EXPECT_GT(settled, 100);
  EXPECT_GT(looked_at, 50);
}

}  // namespace
}  // namespace halftone::exec
