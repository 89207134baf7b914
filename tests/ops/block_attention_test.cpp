// Attention in blocks against the nodes that it takes the place of, bit for bit, and against its definition.
#include "ops/block_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "gradient_check.h"
#include "ops/fold.h"
#include "pass/block_attention.h"
#include "pass/differentiate.h"
#include "pass/plan.h"

namespace halftone::ops::test {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// What lies between the product of queries and keys and the softmax; `x` are the case's inputs behind V.
using Steps = std::function<ValueId(Builder&, ValueId scores, const std::vector<ValueId>& x)>;

// Inputs: Q, K, V and what the steps read.
struct Attention {
  Shape q, k, v;
  std::vector<Shape> more = {};
  Steps steps = nullptr;
  bool keys_down = false;
  bool guard = false;
  double alpha = 0.4;
  std::map<size_t, DType> whole = {};
  double ratio = 0;      // of a dropout of the shares
  bool trained = false;  // what the steps read has a gradient
};

ValueId composed(Builder& b, const std::vector<ValueId>& x, const Attention& a) {
  ValueId scores = b.add1("MatMul", {x[0], x[1]}, {{"trans_b", int64_t{!a.keys_down}}, {"alpha", a.alpha}});
  if (a.steps) scores = a.steps(b, scores, {x.begin() + 3, x.end()});
  ValueId shares = b.add1("Softmax", {scores});
  if (a.guard) {
    const ValueId nan =
        b.add1("Classify", {shares},
               {{"nan", int64_t{1}}, {"plus_infinity", int64_t{0}}, {"minus_infinity", int64_t{0}}});
    shares = b.add1("Where", {nan, b.scalar(0), shares});
  }
  if (a.ratio > 0) shares = b.add1("Dropout", {shares}, {{"ratio", a.ratio}, {"stream", int64_t{5}}});
  return b.add1("MatMul", {shares, x[2]});
}

// The pass, where all that is asked for is y. Returns how many it found.
int64_t in_blocks(Builder& b, ValueId y, bool keeps_shares = false) {
  const std::vector<ValueId> kept = b.graph().outputs;
  b.graph().outputs.push_back(y);
  const int64_t found = pass::block_attention(b.graph(), b.storage(), keeps_shares ? 1000 : 0);
  b.graph().outputs = kept;
  return found;
}

Case make(const Attention& a, bool blocks, bool keeps_shares = false) {
  Case c;
  c.inputs = {a.q, a.k, a.v};
  c.inputs.insert(c.inputs.end(), a.more.begin(), a.more.end());
  for (size_t i = 3; i < c.inputs.size() && !a.trained; ++i) c.fixed.push_back(i);
  c.whole = a.whole;
  c.build = [a, blocks, keeps_shares](Builder& b, const std::vector<ValueId>& x) {
    const ValueId y = composed(b, x, a);
    if (blocks) {
      EXPECT_EQ(in_blocks(b, y, keeps_shares), 1);
    }
    return std::vector<ValueId>{y};
  };
  return c;
}

void expect_same(const std::vector<Numbers>& got, const std::vector<Numbers>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t k = 0; k < got.size(); ++k) {
    ASSERT_EQ(got[k].size(), want[k].size());
    for (size_t i = 0; i < got[k].size(); ++i)
      ASSERT_TRUE(got[k][i] == want[k][i] || (std::isnan(got[k][i]) && std::isnan(want[k][i])))
          << what << ", tensor " << k << " element " << i << ": " << got[k][i] << " for " << want[k][i];
  }
}

Numbers gradients_of(size_t n) {
  Numbers dy;
  for (size_t i = 0; i < n; ++i) dy.push_back(std::ldexp(static_cast<double>(i * 7 % 31) - 15, -4));
  return dy;
}

// Forward and gradient, every type and policy, instruction set and number of threads.
void expect_the_nodes_bits(const Attention& a, const std::string& what) {
  const Case nodes = make(a, false);
  const Case blocks = make(a, true);
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    for (const kern::Multiply multiply :
         {kern::Multiply::kWide, kern::Multiply::kBlock, kern::Multiply::kHalf}) {
      if (multiply != kern::Multiply::kWide && !is_16bit(dtype)) continue;
      if (multiply == kern::Multiply::kHalf && dtype != DType::kF16) continue;
      Case one = nodes;
      Case other = blocks;
      one.multiply = other.multiply = multiply;
      const std::vector<Numbers> x = random_inputs(nodes, dtype);
      Result want;
      for (const kern::Isa isa : isas(dtype)) {
        if (multiply == kern::Multiply::kHalf && !kern::table(isa).matrix.half) continue;
        for (const int threads : {1, 3}) {
          if (want.y.empty()) {
            const size_t n = forward(blocks, DType::kF64, x)[0].size();
            want = run(one, dtype, x, {gradients_of(n)}, isa, threads);
            std::vector<Numbers> all = want.dx;
            if (!a.trained) all.resize(3);
            all.push_back(want.y[0]);
            for (const Numbers& list : all)
              ASSERT_TRUE(std::any_of(list.begin(), list.end(), [](double v) { return v != 0; })) << what;
          }
          // Shares are kept, or computed once more.
          other.build = make(a, true, threads == 1).build;
          const Result got = run(other, dtype, x, {gradients_of(want.y[0].size())}, isa, threads);
          const std::string where = what + ", " + std::string(name_of(dtype)) + ", policy " +
                                    std::to_string(static_cast<int>(multiply)) + ", " +
                                    std::string(kern::name_of(isa)) + ", " + std::to_string(threads);
          expect_same(got.y, want.y, where + ", y");
          expect_same(got.dx, want.dx, where + ", gradient");
        }
      }
    }
}

Steps adds(const TensorPtr& mask) {
  return [mask](Builder& b, ValueId scores, const std::vector<ValueId>&) {
    return b.add1("Add", {scores, b.constant(mask->clone())});
  };
}
TensorPtr causal(int64_t queries, int64_t keys) {
  Numbers m;
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t j = 0; j < keys; ++j) m.push_back(j > i + keys - queries ? -kInfinite : 0);
  return floats(m, {queries, keys});
}

// A block of queries and a shorter one, keys that are no multiple of a vector or a run.
TEST(BlockAttention, GivesTheBitsOfItsNodes) {
  expect_the_nodes_bits({{1, 270, 20}, {1, 140, 20}, {1, 140, 12}}, "plain");
  expect_the_nodes_bits({{1, 1, 258, 9}, {1, 1, 9, 37}, {1, 1, 37, 5}, {}, nullptr, true}, "keys down");
  // Heads in groups, and one matrix of keys for all.
  expect_the_nodes_bits({{1, 2, 2, 33, 8}, {1, 2, 1, 35, 8}, {1, 2, 1, 35, 8}}, "groups");
  expect_the_nodes_bits({{3, 2, 20, 8}, {1, 1, 35, 8}, {1, 2, 35, 8}}, "broadcast");
  expect_the_nodes_bits({{1, 20, 8}, {3, 35, 8}, {3, 35, 8}}, "broadcast queries");
}

TEST(BlockAttention, GivesTheBitsOfItsNodesWithMasks) {
  expect_the_nodes_bits({{1, 270, 12}, {1, 270, 12}, {1, 270, 12}, {}, adds(causal(270, 270))}, "causal");
  expect_the_nodes_bits({{1, 150, 12}, {1, 300, 12}, {1, 300, 12}, {}, adds(causal(150, 300))},
                        "causal with a past");
  const Steps scaled = [](Builder& b, ValueId s, const std::vector<ValueId>& x) {
    s = b.add1("Scale", {s}, {{"alpha", 0.3}, {"beta", 0.0}});
    return b.add1("Add", {x[0], s});
  };
  for (const Shape& mask : {Shape{2, 1, 1, 50}, Shape{1, 3, 40, 50}, Shape{50}, Shape{40, 1}, Shape{}})
    expect_the_nodes_bits({{2, 3, 40, 8}, {2, 3, 50, 8}, {2, 3, 50, 8}, {mask}, scaled},
                          "scale and mask " + to_string(mask));
  const Attention chosen{{2, 3, 40, 8},
                         {2, 3, 50, 8},
                         {2, 3, 50, 8},
                         {{2, 1, 40, 50}, {1, 3, 1, 1}, {1, 1, 1, 50}},
                         [](Builder& b, ValueId s, const std::vector<ValueId>& x) {
                           s = b.add1("Where", {x[0], s, x[1]});
                           s = b.add1("Scale", {s}, {{"alpha", 1.5}, {"beta", 0.25}});
                           return b.add1("Where", {x[2], b.scalar(-3), s});
                         },
                         false,
                         false,
                         0.4,
                         {{3, DType::kU8}, {5, DType::kU8}}};
  expect_the_nodes_bits(chosen, "chosen");
  // Scores of other batch axes where the mask is added.
  expect_the_nodes_bits({{2, 2, 3, 20, 8},
                         {2, 2, 1, 35, 8},
                         {2, 2, 1, 35, 8},
                         {{1, 6, 20, 35}, {2, 1, 1, 35}},
                         [](Builder& b, ValueId s, const std::vector<ValueId>& x) {
                           s = b.reshape(s, {2, 6, 20, 35});
                           s = b.add1("Add", {b.add1("Add", {s, x[0]}), x[1]});
                           return b.reshape(s, {2, 2, 3, 20, 35});
                         }},
                        "reshaped");
}

TEST(BlockAttention, GivesTheBitsOfItsNodesWithDropout) {
  Attention plain{{2, 270, 8}, {2, 40, 8}, {2, 40, 12}};
  plain.ratio = 0.1;
  expect_the_nodes_bits(plain, "dropout");
  // Keys that a mask leaves out for a block: the others keep their bits.
  Attention masked{{1, 270, 4}, {1, 270, 4}, {1, 270, 4}, {}, adds(causal(270, 270))};
  masked.ratio = 0.25;
  expect_the_nodes_bits(masked, "dropout behind a mask");
  masked.guard = true;
  expect_the_nodes_bits(masked, "dropout behind a guard");
}

// Tables of relative positions: one bias for all samples, or for all windows of each; in front of other steps;
// one of each sample.
TEST(BlockAttention, GivesTheBitsOfItsNodesWithATrainedBias) {
  const Steps added = [](Builder& b, ValueId s, const std::vector<ValueId>& x) {
    for (const ValueId bias : x) s = b.add1("Add", {s, bias});
    return s;
  };
  const auto biased = [&](const Shape& q, const Shape& k, const std::vector<Shape>& more, const Steps& steps,
                          double ratio = 0) {
    Attention a{q, k, k, more, steps};
    a.trained = true;
    a.ratio = ratio;
    expect_the_nodes_bits(a, "bias " + to_string(more[0]));
  };
  biased({3, 2, 260, 4}, {3, 2, 20, 4}, {{1, 2, 260, 20}}, added);
  biased({3, 2, 20, 8}, {3, 2, 35, 8}, {{2, 20, 35}, {20, 35}}, added);
  biased({70, 1, 9, 8}, {70, 1, 9, 8}, {{1, 1, 9, 9}}, added, 0.5);  // summed in several levels
  biased({2, 2, 20, 8}, {2, 2, 35, 8}, {{2, 2, 20, 35}}, added);
  biased({2, 2, 20, 8}, {2, 2, 35, 8}, {{1, 2, 20, 35}},
         [](Builder& b, ValueId s, const std::vector<ValueId>& x) {
           s = b.add1("Add", {s, x[0]});
           s = b.add1("Scale", {s}, {{"alpha", 1.5}, {"beta", 0.25}});
           return b.add1("Add", {s, b.constant(causal(20, 35)->clone())});
         });
  // Windows: their scores are apart where a mask of each window is added.
  biased({6, 2, 20, 8}, {6, 2, 35, 8}, {{1, 2, 20, 35}},
         [](Builder& b, ValueId s, const std::vector<ValueId>& x) {
           s = b.reshape(b.add1("Add", {s, x[0]}), {2, 3, 2, 20, 35});
           Numbers mask;
           for (int i = 0; i < 6 * 20 * 35; ++i) mask.push_back(i % 7 == 0 ? -100 : 0);
           s = b.add1("Add", {s, b.constant(floats(mask, {2, 3, 1, 20, 35})->clone())});
           return b.reshape(s, {6, 2, 20, 35});
         });
}

TEST(BlockAttention, ABiassGradient) {
  Attention a{
      {2, 2, 5, 3}, {2, 2, 7, 3}, {2, 2, 7, 2}, {{1, 2, 5, 7}}, [](Builder& b, ValueId s, const auto& x) {
        return b.add1("Add", {s, x[0]});
      }};
  a.trained = true;
  a.ratio = 0.25;
  Case c = make(a, true);
  c.y_roundings = 8;
  c.roundings = 4 * 24;
  check(c);
}

TEST(BlockAttention, ForwardAndGradient) {
  Case c = make({{2, 5, 3}, {2, 7, 3}, {2, 7, 2}}, true);
  c.expected = [](const std::vector<Numbers>& x) {
    Numbers y;
    for (size_t b = 0; b < 2; ++b)
      for (size_t i = 0; i < 5; ++i) {
        Numbers share;
        double sum = 0;
        for (size_t j = 0; j < 7; ++j) {
          double score = 0;
          for (size_t d = 0; d < 3; ++d) score += x[0][(b * 5 + i) * 3 + d] * x[1][(b * 7 + j) * 3 + d];
          share.push_back(std::exp(0.4 * score));
          sum += share.back();
        }
        for (size_t d = 0; d < 2; ++d) {
          double out = 0;
          for (size_t j = 0; j < 7; ++j) out += share[j] / sum * x[2][(b * 7 + j) * 2 + d];
          y.push_back(out);
        }
      }
    return std::vector<Numbers>{y};
  };
  c.y_roundings = 8;
  c.roundings = 4 * 24;
  check(c);
  c.multiply = kern::Multiply::kBlock;
  check(c);
  // Two blocks of queries.
  Case longer = make({{1, 259, 1}, {1, 3, 1}, {1, 3, 1}, {}, adds(floats({0, 0.5, -1}, {3}))}, true);
  longer.y_roundings = 8;
  longer.roundings = 4 * 24;
  check(longer);
}

// Where no key is left the nodes give NaN; behind a guard 0, and no gradient.
TEST(BlockAttention, RowsWithoutAKey) {
  const TensorPtr mask = floats({-kInfinite, -kInfinite, 0, -kInfinite}, {2, 2});
  Attention a{{1, 2, 1}, {1, 2, 1}, {1, 2, 1}, {}, adds(mask)};
  const std::vector<Numbers> x{{1, 2}, {3, 1}, {5, 7}};
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
    a.guard = false;
    const Numbers y = run(make(a, true), dtype, x, {{1, 1}}).y[0];
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], 5);
    a.guard = true;
    for (const bool keeps : {false, true}) {
      const Result r = run(make(a, true, keeps), dtype, x, {{1, 1}});
      EXPECT_EQ(r.y[0], (Numbers{0, 5}));
      EXPECT_EQ(r.dx[2], (Numbers{1, 0}));
      EXPECT_EQ(r.dx[0], (Numbers{0, 0}));
      EXPECT_EQ(r.dx[1], (Numbers{0, 0}));
    }
  }
  // A score that overflows is no row without a key, and its gradient not finite.
  a.steps = nullptr;
  for (const bool keeps : {false, true}) {
    const Result r = run(make(a, true, keeps), DType::kF16, {{300, 2}, {600, 1}, {5, 7}}, {{1, 1}});
    EXPECT_EQ(r.y[0][0], 0);
    EXPECT_TRUE(std::isnan(r.dx[0][0]));
  }
}

// The largest score of each block, infinite where one is.
TEST(BlockAttention, SaysHowLargeScoresAre) {
  const auto largest = [](DType dtype, double q) {
    Case c;
    c.inputs = {{2, 258, 1}, {2, 3, 1}, {2, 3, 1}};
    c.fixed = {0, 1, 2};
    c.build = [](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{b.add("BlockAttention", {x[2], x[0], x[1]})[2]};
    };
    std::vector<Numbers> x = random_inputs(c, dtype);
    for (size_t i = 258; i < 516; ++i) x[0][i] = std::min(x[0][i], 1.0) / 2;
    x[0][258 + 257] = q;
    x[1][3] = -60000;
    return run(c, dtype, x, {Numbers(4, 0)}).y[0];
  };
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBf16}) {
    const Numbers found = largest(dtype, 2);
    EXPECT_EQ(found[3], dtype == DType::kBf16 ? 119808 : 120000);
    EXPECT_TRUE(found[0] > 0 && found[0] < 12 && found[2] < 60001);
  }
  EXPECT_EQ(largest(DType::kF16, 1)[3], 60000);
  const Numbers beyond = largest(DType::kF16, 2);
  EXPECT_TRUE(std::isinf(beyond[3]) && std::isfinite(beyond[0]) && std::isfinite(beyond[2]));
}

TEST(BlockAttention, LeavesAloneWhatItIsNot) {
  const auto found = [](const std::function<ValueId(Builder&, const std::vector<ValueId>&)>& build,
                        bool keep_scores = false) {
    ir::Graph graph;
    Builder b(graph, DType::kF32);
    std::vector<ValueId> x;
    for (const Shape& shape : {Shape{2, 4, 3}, Shape{2, 5, 3}, Shape{2, 5, 3}, Shape{4, 5}}) {
      ir::Value v;
      v.kind = x.size() == 3 ? ir::ValueKind::kParameter : ir::ValueKind::kInput;
      v.name = "x" + std::to_string(x.size());
      v.type = {DType::kF32, shape};
      v.data = std::make_shared<const Tensor>(DType::kF32, shape);
      if (v.kind == ir::ValueKind::kInput) v.data = nullptr;
      x.push_back(graph.add_value(v));
      if (v.kind == ir::ValueKind::kInput) graph.inputs.push_back(x.back());
    }
    const ValueId y = build(b, x);
    if (keep_scores) graph.outputs = {graph.nodes[0].outputs[0]};
    return in_blocks(b, y);
  };
  const Attributes transposed{{"trans_b", int64_t{1}}};
  const auto with = [&](const Steps& between, const Steps& behind) {
    return [=](Builder& b, const std::vector<ValueId>& x) {
      ValueId s = b.add1("MatMul", {x[0], x[1]}, transposed);
      if (between) s = between(b, s, x);
      s = b.add1("Softmax", {s});
      if (behind) s = behind(b, s, x);
      return b.add1("MatMul", {s, x[2]});
    };
  };
  EXPECT_EQ(found(with(nullptr, nullptr)), 1);
  EXPECT_EQ(found(with(nullptr, nullptr), true), 0);  // the scores are an output
  const Steps dropped = [](Builder& b, ValueId s, const auto&) {
    return b.add1("Dropout", {s}, {{"ratio", 0.5}, {"stream", int64_t{1}}});
  };
  EXPECT_EQ(found(with(
                [](Builder& b, ValueId s, const auto& x) {
                  return b.add1("Add", {s, x[3]});
                },
                dropped)),
            1);
  // A trained bias for each query, or one that is chosen; dropout of dropout; a function of the scores, a softmax of
  // something else, its logarithm.
  EXPECT_EQ(found(with(
                [](Builder& b, ValueId s, const auto& x) {
                  return b.add1("Add",
                                {s, b.add1("ReduceSum", {x[3]},
                                           {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{1}}})});
                },
                nullptr)),
            0);
  EXPECT_EQ(found(with(
                [](Builder& b, ValueId s, const auto& x) {
                  return b.add1("Where", {b.constant(Tensor(DType::kU8, {4, 5})), s, x[3]});
                },
                nullptr)),
            0);
  EXPECT_EQ(found(with(nullptr, [&](Builder& b, ValueId s,
                                    const auto& x) { return dropped(b, dropped(b, s, x), x); })),
            0);
  EXPECT_EQ(found(with([](Builder& b, ValueId s, const auto&) { return b.add1("Tanh", {s}); }, nullptr)), 0);
  EXPECT_EQ(found([](Builder& b, const std::vector<ValueId>& x) {
              return b.add1("MatMul", {b.add1("Softmax", {b.add1("Relu", {x[3]})}), x[2]});
            }),
            0);
  EXPECT_EQ(found([&](Builder& b, const std::vector<ValueId>& x) {
              const ValueId s = b.add1("MatMul", {x[0], x[1]}, transposed);
              return b.add1("MatMul", {b.add1("LogSoftmax", {s}), x[2]});
            }),
            0);
  // Shares on the right, shares that somebody else reads too.
  EXPECT_EQ(found([&](Builder& b, const std::vector<ValueId>& x) {
              const ValueId s = b.add1("Softmax", {b.add1("MatMul", {x[0], x[1]}, transposed)});
              return b.add1("MatMul", {b.transpose(x[0], {0, 2, 1}), s});
            }),
            0);
  EXPECT_EQ(found([&](Builder& b, const std::vector<ValueId>& x) {
              const ValueId s = b.add1("Softmax", {b.add1("MatMul", {x[0], x[1]}, transposed)});
              return b.add1("Add", {b.add1("MatMul", {s, x[2]}),
                                    b.add1("ReduceSum", {s},
                                           {{"axes", std::vector<int64_t>{2}}, {"keepdims", int64_t{1}}})});
            }),
            0);
}

TEST(BlockAttention, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& part, const std::vector<Type>& inputs, const Attributes& a = {}) {
    const std::string message = refusal(inputs, "BlockAttention", a);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  const auto f = [](Shape shape) { return Type{DType::kF32, std::move(shape)}; };
  const Attributes add{{"steps", std::vector<int64_t>{static_cast<int64_t>(AttentionStep::kAdd)}}};
  says("don't fit", {f({2, 5, 3}), f({2, 4, 3}), f({2, 6, 3})});
  says("don't fit", {f({2, 5, 3}), f({2, 4, 3}), f({2, 5, 3})}, {{"keys_down", int64_t{1}}});
  says("at least 2 dimensions", {f({3}), f({2, 4, 3}), f({2, 5, 3})});
  says("different types", {f({2, 5, 3}), f({2, 4, 3}), {DType::kF16, {2, 5, 3}}});
  says("input 3 is missing", {f({2, 5, 3}), f({2, 4, 3}), f({2, 5, 3})}, add);
  says("cannot be broadcast", {f({2, 5, 3}), f({2, 4, 3}), f({2, 5, 3}), f({3, 5})}, add);
  says("broadcasts to 2x4x5", {f({2, 5, 3}), f({2, 4, 3}), f({2, 5, 3}), f({3, 2, 4, 5})}, add);
  says("its steps read 3", {f({2, 5, 3}), f({2, 4, 3}), f({2, 5, 3}), f({4, 5})});
}

// The memory of forward and gradient for `length` tokens: four heads of 64.
struct Planned {
  int64_t samples = 2;
  double ratio = 0;
  bool bias = false;  // trained, one for all samples
};
int64_t planned_bytes(int64_t length, bool blocks, DType dtype, const Planned& p = {}) {
  ir::Graph graph;
  Builder b(graph, dtype);
  std::vector<ValueId> x;
  for (int i = 0; i < (p.bias ? 5 : 4); ++i) {
    ir::Value v;
    v.kind = ir::ValueKind::kInput;
    v.name = "x" + std::to_string(i);
    v.type = {dtype, i < 4 ? Shape{p.samples, 4, length, 64} : Shape{1, 4, length, length}};
    x.push_back(graph.add_value(v));
    graph.inputs.push_back(x.back());
  }
  Attention a;
  a.ratio = p.ratio;
  std::vector<ValueId> read{x[0], x[1], x[2]};
  if (p.bias) {
    read.push_back(x[4]);
    a.steps = [](Builder& at, ValueId s, const std::vector<ValueId>& more) {
      return at.add1("Add", {s, more[0]});
    };
  }
  const ValueId y = composed(b, read, a);
  if (blocks) in_blocks(b, y);
  graph.outputs = pass::differentiate(b, {{y, x[3]}}, read);
  graph.outputs.push_back(y);
  std::vector<int64_t> scratch;
  for (const ir::Node& node : graph.nodes)
    scratch.push_back(find(node.op)
                          .prepare(PrepareContext{graph, node, kern::active(), kern::Multiply::kBlock, 2})
                          .scratch_bytes);
  return pass::plan_memory(graph, scratch).arena_bytes;
}

TEST(BlockAttention, MemoryGrowsLinearly) {
  for (const DType dtype : {DType::kF32, DType::kF16})
    for (const double ratio : {0.0, 0.1}) {
      // From the length of a block on.
      const Planned p{2, ratio};
      int64_t before = planned_bytes(256, true, dtype, p);
      EXPECT_LT(before, 3 * planned_bytes(128, true, dtype, p));
      for (int64_t length = 512; length <= 2048; length *= 2) {
        const int64_t now = planned_bytes(length, true, dtype, p);
        EXPECT_LE(now, 2 * before + before / 8) << length;
        before = now;
      }
      EXPECT_GT(planned_bytes(2048, false, dtype, p), 4 * before);  // what it was
    }
}

// A bias of all relative positions and its gradient are there once, whatever the number of samples; what each
// sample takes besides grows linearly.
TEST(BlockAttention, MemoryOfASampleGrowsLinearlyWithATrainedBias) {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    const auto of_a_sample = [&](int64_t length, bool blocks) {
      return (planned_bytes(length, blocks, dtype, {34, 0.1, true}) -
              planned_bytes(length, blocks, dtype, {2, 0.1, true})) /
             32;
    };
    int64_t before = of_a_sample(256, true);
    for (int64_t length = 512; length <= 2048; length *= 2) {
      const int64_t now = of_a_sample(length, true);
      EXPECT_LE(now, 2 * before + before / 8) << length;
      before = now;
    }
    EXPECT_GT(of_a_sample(2048, false), 4 * before);
  }
}

}  // namespace
}  // namespace halftone::ops::test
