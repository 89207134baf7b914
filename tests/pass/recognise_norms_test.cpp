// Normalisations spelled in nodes become one operator; the function and its gradient stay, and what differs
// from such a normalisation is left alone.
#include "pass/recognise_norms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>

#include "exec/program.h"
#include "num/random.h"
#include "ops/effects.h"
#include "pass/arrange.h"
#include "pass/differentiate.h"
#include "pass/layout.h"

namespace halftone::pass {
namespace {

using ir::Attributes;
using ir::kNone;
using ir::ValueId;
using Axes = std::vector<int64_t>;
using Numbers = std::vector<double>;

double number(uint64_t stream, uint64_t i) {
  return num::random16(num::random_key(5, stream), i, 0) / 32768.0 - 1.0;
}

// The nodes that exporters write, and the names of ONNX for what import makes of them.
struct Net {
  ir::Graph graph;
  ops::Builder b;
  std::vector<ValueId> parameters;
  explicit Net(DType type) : b(graph, type) {}

  ValueId input(const Shape& shape) {
    ir::Value v;
    v.name = "x" + std::to_string(graph.inputs.size());
    v.kind = ir::ValueKind::kInput;
    v.type = {b.storage(), shape};
    graph.inputs.push_back(graph.add_value(std::move(v)));
    return graph.inputs.back();
  }
  ValueId parameter(const Shape& shape) {
    const ValueId id = input(shape);
    parameters.push_back(id);
    return id;
  }
  ValueId op(const char* name, std::vector<ValueId> in, Attributes a = {}) {
    return b.add1(name, std::move(in), std::move(a));
  }
  ValueId mean(ValueId x, Axes axes, int64_t keep = 1) {
    return op("ReduceMean", {x}, {{"axes", axes}, {"keepdims", keep}});
  }
  ValueId sum(ValueId x, Axes axes) {
    return op("ReduceSum", {x}, {{"axes", axes}, {"keepdims", int64_t{1}}});
  }
  ValueId power(ValueId x, double p) { return op("PowScalar", {x}, {{"alpha", p}, {"beta", 0.0}}); }
  ValueId scale(ValueId x, double alpha, double beta) {
    return op("Scale", {x}, {{"alpha", alpha}, {"beta", beta}});
  }
  ValueId plus(ValueId x, double beta) { return scale(x, 1, beta); }
  ValueId sub(ValueId x, ValueId y) { return op("Sub", {x, y}); }
  ValueId mul(ValueId x, ValueId y) { return op("Mul", {x, y}); }
  ValueId add(ValueId x, ValueId y) { return op("Add", {x, y}); }
  ValueId div(ValueId x, ValueId y) { return op("Div", {x, y}); }
  ValueId root(ValueId x) { return op("Sqrt", {x}); }
  ValueId inverse(ValueId x) { return op("Reciprocal", {x}); }
  ValueId at_least(ValueId x, double low) { return op("Clip", {x}, {{"alpha", low}, {"beta", INFINITY}}); }
  ValueId one() { return b.scalar(1); }
};

using Build = std::function<ValueId(Net&, ValueId x)>;

struct Outcome {
  std::map<std::string, int> ops;
  Numbers y;
  std::vector<Numbers> dx;
  Attributes attributes;  // of the normalisation
};

Outcome run(const Shape& shape, const Build& build, bool recognise, DType type = DType::kF64,
            double size = 1) {
  Net net(type);
  const ValueId x = net.input(shape);
  ValueId y = build(net, x);
  net.graph.outputs = {y};
  const std::string name = net.graph.value(y).name;
  if (recognise) arrange(net.graph, type);
  y = net.graph.outputs[0];
  Outcome out;
  for (const ir::Node& n : net.graph.nodes) {
    ++out.ops[n.op];
    if (n.op.find("Normalization") != std::string::npos) out.attributes = n.attributes;
  }
  ir::Value seed;
  seed.kind = ir::ValueKind::kInput;
  seed.name = "dy";
  seed.type = net.graph.value(y).type;
  const ValueId dy = net.graph.add_value(seed);
  std::vector<ValueId> wanted{x};
  wanted.insert(wanted.end(), net.parameters.begin(), net.parameters.end());
  const std::vector<ValueId> dx = differentiate(net.b, {{y, dy}}, wanted);
  net.graph.inputs.push_back(dy);
  for (const ValueId id : dx) net.graph.outputs.push_back(id);
  ops::remove_dead_nodes(net.graph);
  par::Pool pool(1);
  exec::Store store;
  exec::Arena arena;
  exec::Program program(net.graph, kern::table(kern::Isa::kReference), kern::Multiply::kWide, pool, store,
                        arena);
  program.attach();
  for (size_t k = 0; k < net.graph.inputs.size(); ++k) {
    const ir::Type& t = net.graph.value(net.graph.inputs[k]).type;
    Tensor data(DType::kF64, t.shape);
    for (size_t i = 0; i < static_cast<size_t>(data.size()); ++i)
      data.as<double>()[i] = (k == 0 ? size : 1) * number(k, i) + (k == 0 ? 0.25 : 0);
    const Tensor stored = converted(data, t.dtype);
    if (program.data(net.graph.inputs[k]) != nullptr)
      std::memcpy(program.data(net.graph.inputs[k]), stored.data(), static_cast<size_t>(stored.bytes()));
  }
  ops::StepState state;
  program.run(ir::Phase::kCompute, state);
  const auto read = [&](ValueId id) {
    const ir::Type& t = net.graph.value(id).type;
    Tensor data(t.dtype, t.shape);
    std::memcpy(data.data(), program.data(id), static_cast<size_t>(data.bytes()));
    const Tensor wide = converted(data, DType::kF64);
    return Numbers(wide.as<double>().begin(), wide.as<double>().end());
  };
  out.y = read(y);
  for (const ValueId id : dx) out.dx.push_back(read(id));
  return out;
}

void expect_close(const Numbers& a, const Numbers& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_NEAR(a[i], b[i], 1e-9 * (1 + std::fabs(b[i]))) << what << " element " << i;
}

// The operators after recognition, and that the function and all gradients are what the nodes say.
std::map<std::string, int> recognised(const Shape& shape, const Build& build,
                                      Attributes* attributes = nullptr) {
  const Outcome nodes = run(shape, build, false);
  const Outcome one = run(shape, build, true);
  expect_close(one.y, nodes.y, "y");
  EXPECT_EQ(one.dx.size(), nodes.dx.size());
  for (size_t k = 0; k < nodes.dx.size(); ++k)
    expect_close(one.dx[k], nodes.dx[k], "gradient " + std::to_string(k));
  double size = 0;
  for (const double v : nodes.dx[0]) size += std::fabs(v);
  EXPECT_GT(size, 0) << "a gradient of zeros proves nothing";
  if (attributes != nullptr) *attributes = one.attributes;
  return one.ops;
}

using Counts = std::map<std::string, int>;
const Counts kLayer{{"LayerNormalization", 1}};
const Counts kRms{{"RMSNormalization", 1}};

constexpr double kEps = 1e-2;

// As PyTorch's exporter writes it before opset 17.
ValueId layer_norm(Net& n, ValueId x, const Axes& axes) {
  const ValueId d = n.sub(x, n.mean(x, axes));
  return n.div(d, n.root(n.plus(n.mean(n.power(d, 2), axes), kEps)));
}

TEST(RecogniseNorms, LayerNormInEverySpelling) {
  const Shape shape{3, 5};
  const std::vector<std::pair<const char*, Build>> spellings = {
      {"as PyTorch writes it",
       [](Net& n, ValueId x) {
         return n.add(n.mul(layer_norm(n, x, {1}), n.parameter({5})), n.parameter({5}));
       }},
      {"operands exchanged",
       [](Net& n, ValueId x) {
         return n.add(n.parameter({5}), n.mul(n.parameter({1, 5}), layer_norm(n, x, {1})));
       }},
      {"squares by Mul, Reciprocal",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         const ValueId r = n.inverse(n.root(n.plus(n.mean(n.mul(d, d), {1}), kEps)));
         return n.add(n.mul(n.mul(r, d), n.parameter({5})), n.parameter({5}));
       }},
      {"power -0.5",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         const ValueId r = n.power(n.plus(n.mean(n.power(d, 2), {1}), kEps), -0.5);
         return n.add(n.mul(n.mul(d, r), n.parameter({5})), n.parameter({5}));
       }},
      {"one over the root",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         const ValueId r = n.div(n.one(), n.power(n.plus(n.mean(n.power(d, 2), {1}), kEps), 0.5));
         return n.add(n.mul(n.parameter({5}), n.mul(d, r)), n.parameter({5}));
       }},
      {"mean and difference computed twice",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         const ValueId again = n.sub(x, n.mean(x, {1}));
         return n.add(n.mul(n.div(again, n.root(n.plus(n.mean(n.power(d, 2), {1}), kEps))), n.parameter({5})),
                      n.parameter({5}));
       }},
      {"the scale taken into the reciprocal",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         const ValueId r = n.inverse(n.root(n.plus(n.mean(n.power(d, 2), {1}), kEps)));
         return n.add(n.mul(d, n.mul(r, n.parameter({5}))), n.parameter({5}));
       }},
      {"as tf2onnx writes it",
       [](Net& n, ValueId x) {
         const ValueId m = n.mean(x, {1});
         const ValueId d = n.sub(x, m);
         const ValueId r = n.inverse(n.root(n.plus(n.mean(n.mul(d, d), {1}), kEps)));
         const ValueId gain = n.mul(r, n.parameter({5}));
         return n.add(n.mul(x, gain), n.sub(n.parameter({5}), n.mul(m, gain)));
       }},
      {"mean of squares minus squared mean, as flax writes it",
       [](Net& n, ValueId x) {
         const ValueId m = n.mean(x, {1});
         const ValueId v = n.at_least(n.sub(n.mean(n.mul(x, x), {1}), n.mul(m, m)), 0);
         const ValueId gain = n.mul(n.power(n.plus(v, kEps), -0.5), n.parameter({5}));
         return n.add(n.mul(n.sub(x, m), gain), n.parameter({5}));
       }},
      {"keepdims 0 and Unsqueeze, Expand",
       [](Net& n, ValueId x) {
         const ValueId m = n.b.reshape(n.mean(x, {1}, 0), {3, 1});
         const ValueId d = n.sub(x, n.op("Expand", {m}, {{"shape", Shape{3, 5}}}));
         const ValueId v = n.plus(n.mean(n.power(d, 2), {1}, 0), kEps);
         return n.add(n.mul(n.div(d, n.b.reshape(n.root(v), {3, 1})), n.parameter({5})), n.parameter({5}));
       }},
  };
  for (const auto& [what, build] : spellings) {
    SCOPED_TRACE(what);
    Attributes a;
    const Counts ops = recognised(shape, build, &a);
    EXPECT_EQ(ops.at("LayerNormalization"), 1);
    for (const auto& [op, count] : ops) EXPECT_TRUE(op == "LayerNormalization" || op == "Reshape") << op;
    EXPECT_EQ(a.float_or("epsilon", -1), kEps);
    EXPECT_EQ(a.float_or("factor", -1), 1.0 / 5);
  }
}

TEST(RecogniseNorms, WithoutScaleOrBias) {
  EXPECT_EQ(recognised({3, 5}, [](Net& n, ValueId x) { return layer_norm(n, x, {1}); }), kLayer);
  EXPECT_EQ(
      recognised({3, 5}, [](Net& n, ValueId x) { return n.add(layer_norm(n, x, {1}), n.parameter({5})); }),
      kLayer);
  EXPECT_EQ(
      recognised({3, 5}, [](Net& n, ValueId x) { return n.mul(layer_norm(n, x, {1}), n.parameter({5})); }),
      kLayer);
  // Without a bias, spread out.
  EXPECT_EQ(recognised({3, 5},
                       [](Net& n, ValueId x) {
                         const ValueId m = n.mean(x, {1});
                         const ValueId d = n.sub(x, m);
                         const ValueId r = n.inverse(n.root(n.plus(n.mean(n.mul(d, d), {1}), kEps)));
                         return n.sub(n.mul(r, x), n.mul(m, r));
                       }),
            kLayer);
}

TEST(RecogniseNorms, SeveralAxes) {
  EXPECT_EQ(
      recognised({2, 3, 4},
                 [](Net& n, ValueId x) {
                   return n.add(n.mul(layer_norm(n, x, {1, 2}), n.parameter({3, 4})), n.parameter({3, 4}));
                 }),
      kLayer);
}

// A norm over channels that are not last, as ConvNeXt's: Transposes around it.
TEST(RecogniseNorms, AxesThatAreNotLast) {
  const Counts ops = recognised({2, 3, 4, 5}, [](Net& n, ValueId x) {
    return n.add(n.mul(layer_norm(n, x, {1}), n.parameter({3, 1, 1})), n.parameter({1, 3, 1, 1}));
  });
  EXPECT_EQ(ops, (Counts{{"LayerNormalization", 1}, {"Transpose", 2}, {"Reshape", 2}}));
}

// The Transposes meet those of what is channels last, and one between the norm and its scale moves away.
TEST(RecogniseNorms, TransposesMeet) {
  const Counts ops = recognised({2, 4, 5, 3}, [](Net& n, ValueId x) {
    const ValueId first = n.b.transpose(x, {0, 3, 1, 2});
    const ValueId y = layer_norm(n, n.b.transpose(first, {0, 2, 3, 1}), {3});
    const ValueId back =
        n.add(n.mul(n.b.transpose(y, {0, 3, 1, 2}), n.parameter({3, 1, 1})), n.parameter({3, 1, 1}));
    return n.b.transpose(back, {0, 2, 3, 1});
  });
  EXPECT_EQ(ops.at("LayerNormalization"), 1);
  EXPECT_EQ(ops.count("Transpose"), 0U);
  EXPECT_EQ(ops.count("Mul") + ops.count("Add"), 0U);
}

TEST(RecogniseNorms, RmsNorm) {
  const std::vector<std::pair<const char*, Build>> spellings = {
      {"as Llama's",
       [](Net& n, ValueId x) {
         const ValueId r = n.inverse(n.root(n.plus(n.mean(n.power(x, 2), {1}), kEps)));
         return n.mul(n.parameter({5}), n.mul(x, r));
       }},
      {"as T5's, by a division",
       [](Net& n, ValueId x) {
         return n.mul(n.div(x, n.root(n.plus(n.mean(n.mul(x, x), {1}), kEps))), n.parameter({5}));
       }},
      {"a sum, divided",
       [](Net& n, ValueId x) {
         const ValueId mean = n.div(n.sum(n.power(x, 2), {1}), n.b.scalar(5));
         return n.mul(n.mul(x, n.power(n.plus(mean, kEps), -0.5)), n.parameter({5}));
       }},
  };
  for (const auto& [what, build] : spellings) {
    SCOPED_TRACE(what);
    Attributes a;
    EXPECT_EQ(recognised({3, 5}, build, &a), kRms);
    EXPECT_NEAR(a.float_or("factor", 0), 0.2, 1e-15);
    EXPECT_EQ(a.float_or("epsilon", 0), kEps);
  }
}

TEST(RecogniseNorms, L2NormWithAFloorOrAnEpsilonOrNeither) {
  Attributes a;
  // torch.nn.functional.normalize
  EXPECT_EQ(recognised(
                {3, 5},
                [](Net& n, ValueId x) {
                  const ValueId l2 = n.at_least(n.root(n.sum(n.power(x, 2), {1})), 0.75);
                  return n.div(x, n.op("Expand", {l2}, {{"shape", Shape{3, 5}}}));
                },
                &a),
            kRms);
  EXPECT_EQ(a.float_or("floor", 0), 0.75);
  EXPECT_EQ(a.float_or("factor", 0), 1);
  EXPECT_EQ(recognised(
                {3, 5},
                [](Net& n, ValueId x) { return n.div(x, n.plus(n.root(n.sum(n.mul(x, x), {1})), 0.5)); }, &a),
            kRms);
  EXPECT_EQ(a.float_or("outside", 0), 0.5);
  EXPECT_EQ(recognised(
                {3, 5}, [](Net& n, ValueId x) { return n.div(x, n.root(n.sum(n.mul(x, x), {1}))); }, &a),
            kRms);
  EXPECT_EQ(a.float_or("epsilon", -1), 0);
  // A size times a number, below a floor.
  EXPECT_EQ(recognised(
                {3, 5},
                [](Net& n, ValueId x) {
                  return n.div(x, n.at_least(n.scale(n.root(n.sum(n.mul(x, x), {1})), 0.5, 0), 0.25));
                },
                &a),
            kRms);
  EXPECT_EQ(a.float_or("factor", 0), 0.25);
}

// What is no layer norm in the textbook's sense, represented as it is: N - 1, an epsilon behind the root.
TEST(RecogniseNorms, UnbiasedVarianceAndEpsilonOutside) {
  Attributes a;
  const Counts ops = recognised(
      {3, 5},
      [](Net& n, ValueId x) {
        const ValueId d = n.sub(x, n.mean(x, {1}));
        const ValueId v = n.div(n.scale(n.mean(n.power(d, 2), {1}), 5, 0), n.b.scalar(4));
        const ValueId y = n.div(d, n.plus(n.root(v), kEps));
        return n.add(n.mul(y, n.parameter({5})), n.parameter({5}));
      },
      &a);
  EXPECT_EQ(ops, kLayer);
  EXPECT_NEAR(a.float_or("factor", 0), 0.25, 1e-15);
  EXPECT_EQ(a.float_or("outside", 0), kEps);
  EXPECT_EQ(a.float_or("epsilon", -1), 0);
}

// An operand that is no scale or bias of rows stays a node; so do those whose left side somebody else reads.
TEST(RecogniseNorms, OperandsThatDoNotFitStayNodes) {
  EXPECT_EQ(recognised({3, 5},
                       [](Net& n, ValueId x) {
                         return n.mul(layer_norm(n, x, {1}), n.parameter({3, 1}));
                       }),
            (Counts{{"LayerNormalization", 1}, {"Mul", 1}}));
  EXPECT_EQ(recognised({3, 5},
                       [](Net& n, ValueId x) {
                         return n.mul(layer_norm(n, x, {1}), n.parameter({3, 5}));
                       }),
            (Counts{{"LayerNormalization", 1}, {"Mul", 1}}));
  EXPECT_EQ(recognised({3, 5},
                       [](Net& n, ValueId x) {
                         return n.add(n.parameter({2, 3, 5}), layer_norm(n, x, {1}));
                       }),
            (Counts{{"LayerNormalization", 1}, {"Add", 1}}));
  EXPECT_EQ(recognised({3, 5},
                       [](Net& n, ValueId x) {
                         const ValueId y = layer_norm(n, x, {1});
                         return n.add(n.mul(y, n.parameter({5})), n.op("Tanh", {y}));
                       }),
            (Counts{{"LayerNormalization", 1}, {"Mul", 1}, {"Tanh", 1}, {"Add", 1}}));
  EXPECT_EQ(recognised({3, 5},
                       [](Net& n, ValueId x) {
                         const ValueId y = layer_norm(n, x, {1});
                         return n.mul(y, y);
                       }),
            (Counts{{"LayerNormalization", 1}, {"Mul", 1}}));
}

// One detail differs each time.
TEST(RecogniseNorms, WhatDiffersIsLeftAlone) {
  const std::vector<std::pair<const char*, Build>> others = {
      {"the mean over another axis",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {0}));
         return n.div(n.sub(x, n.mean(x, {1})), n.root(n.plus(n.mean(n.power(d, 2), {1}), kEps)));
       }},
      {"x itself divided by its deviation",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         return n.div(x, n.root(n.plus(n.mean(n.power(d, 2), {1}), kEps)));
       }},
      {"another exponent",
       [](Net& n, ValueId x) { return n.div(x, n.root(n.plus(n.mean(n.power(x, 4), {1}), kEps))); }},
      {"no root",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.mean(x, {1}));
         return n.div(d, n.plus(n.mean(n.power(d, 2), {1}), kEps));
       }},
      {"the mean of something else",
       [](Net& n, ValueId x) {
         const ValueId m = n.mean(n.op("Tanh", {x}), {1});
         const ValueId v = n.sub(n.mean(n.mul(x, x), {1}), n.mul(m, m));
         return n.div(n.sub(x, m), n.root(n.plus(n.at_least(v, 0), 2)));
       }},
      {"another gain for the mean",
       [](Net& n, ValueId x) {
         const ValueId m = n.mean(x, {1});
         const ValueId d = n.sub(x, m);
         const ValueId r = n.inverse(n.root(n.plus(n.mean(n.mul(d, d), {1}), kEps)));
         return n.add(n.mul(x, n.mul(r, n.parameter({5}))),
                      n.sub(n.parameter({5}), n.mul(m, n.mul(r, n.parameter({5})))));
       }},
      {"rows read as columns",
       [](Net& n, ValueId x) {
         const ValueId d = n.sub(x, n.b.reshape(n.mean(x, {1}), {1, 5}));
         return n.div(d, n.b.reshape(n.root(n.plus(n.mean(n.power(d, 2), {1}), kEps)), {1, 5}));
       }},
  };
  for (const auto& [what, build] : others) {
    SCOPED_TRACE(what);
    for (const auto& [op, count] : recognised({5, 5}, build))
      EXPECT_TRUE(op != "LayerNormalization" &&
                  (op != "RMSNormalization" || what == std::string("the mean over another axis")))
          << op;
  }
}

TEST(RecogniseNorms, ADifferenceFromAnotherMeanHasItsOwnSize) {
  // x - mean over rows, by its size over columns: an RMS norm of that difference.
  EXPECT_EQ(recognised({4, 5},
                       [](Net& n, ValueId x) {
                         const ValueId d = n.sub(x, n.mean(x, {0}));
                         return n.div(d, n.root(n.plus(n.mean(n.power(d, 2), {1}), kEps)));
                       }),
            (Counts{{"ReduceMean", 1}, {"Sub", 1}, {"RMSNormalization", 1}}));
}

// Why: squares beyond 65504 are no trouble any more.
TEST(RecogniseNorms, SquaresDoNotOverflowIn16Bits) {
  const Build build = [](Net& n, ValueId x) { return layer_norm(n, x, {1}); };
  const Outcome nodes = run({3, 8}, build, false, DType::kF16, 1000);
  const Outcome one = run({3, 8}, build, true, DType::kF16, 1000);
  const Outcome wide = run({3, 8}, build, false, DType::kF64, 1000);
  bool lost = false;
  for (size_t i = 0; i < wide.y.size(); ++i) {
    lost = lost || !(std::fabs(nodes.y[i] - wide.y[i]) < 0.1);
    EXPECT_NEAR(one.y[i], wide.y[i], 0x1p-9) << i;  // x is rounded to fp16 too
  }
  EXPECT_TRUE(lost) << "these numbers prove nothing";
}

// ---------------------------------------------------------------- groups
ValueId instance_norm(Net& n, ValueId x, double scale, double bias) {
  const auto filled = [&](double value) {
    Tensor t(DType::kF64, {n.b.shape(x)[1]});
    for (double& v : t.as<double>()) v = value;
    return n.b.constant(std::move(t));
  };
  const ValueId y = n.op("GroupNormalization", {n.b.transpose(x, {0, 2, 1}), filled(scale), filled(bias)},
                         {{"groups", n.b.shape(x)[1]}, {"epsilon", kEps}});
  return n.b.transpose(y, {0, 2, 1});
}
ValueId group_norm(Net& n, ValueId x, int64_t groups, double scale = 1, double bias = 0) {
  const Shape shape = n.b.shape(x);
  const ValueId y =
      instance_norm(n, n.b.reshape(x, {shape[0], groups, elements(shape) / shape[0] / groups}), scale, bias);
  return n.b.reshape(y, shape);
}

TEST(RecogniseNorms, GroupNormAsPyTorchWritesIt) {
  for (const int64_t groups : {1, 2, 4}) {
    const Counts ops = recognised({2, 4, 3, 2}, [&](Net& n, ValueId x) {
      const ValueId nchw = n.b.transpose(x, {0, 1, 2, 3});
      return n.add(n.mul(group_norm(n, nchw, groups), n.parameter({4, 1, 1})), n.parameter({1, 4, 1, 1}));
    });
    EXPECT_EQ(ops, (Counts{{"GroupNormalization", 1}, {"Transpose", 2}, {"Reshape", 2}})) << groups;
  }
}

TEST(RecogniseNorms, AnInstanceNormWithParametersOfItsOwnIsLeftAlone) {
  const Counts ops = recognised({2, 4, 3}, [&](Net& n, ValueId x) { return group_norm(n, x, 2, 1.5); });
  EXPECT_EQ(ops.at("Reshape"), 2);
  // Groups that are no whole channels.
  const Counts odd = recognised({2, 3, 4}, [&](Net& n, ValueId x) { return group_norm(n, x, 2); });
  EXPECT_EQ(odd.at("Reshape"), 2);
}

}  // namespace
}  // namespace halftone::pass
