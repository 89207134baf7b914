#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gradient_check.h"
#include "moments.h"

namespace halftone::ops::test {
namespace {

struct Spread {
  double epsilon = 1e-5;
  double floor = 0;
  double outside = 0;
  double factor = 0;  // 0: one over the row's elements
};

// Rows of n elements; p is 1 or 2.
Numbers normalized(const Numbers& x, size_t n, bool centred, int p, const Spread& s) {
  Numbers y(x.size());
  for (size_t row = 0; row < x.size(); row += n) {
    double mean = 0;
    for (size_t i = row; i < row + n; ++i) mean += centred ? x[i] / static_cast<double>(n) : 0;
    double sum = 0;
    for (size_t i = row; i < row + n; ++i) sum += p == 1 ? std::fabs(x[i]) : (x[i] - mean) * (x[i] - mean);
    const double factor = s.factor != 0 ? s.factor : 1 / static_cast<double>(n);
    const double spread = p == 1 ? sum : std::sqrt(factor * sum + s.epsilon);
    for (size_t i = row; i < row + n; ++i) y[i] = (x[i] - mean) / (std::max(spread, s.floor) + s.outside);
  }
  return y;
}
Numbers affine(Numbers y, const Numbers& scale, const Numbers& bias) {
  for (size_t i = 0; i < y.size(); ++i) {
    if (!scale.empty()) y[i] *= scale[i % scale.size()];
    if (!bias.empty()) y[i] += bias[i % bias.size()];
  }
  return y;
}

Case layer_norm(const OnnxNode& node, const std::vector<Shape>& shapes, size_t n, double epsilon = 1e-5) {
  Case c = onnx_case(node, shapes);
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{
        affine(normalized(v[0], n, true, 2, {epsilon}), v[1], v.size() > 2 ? v[2] : Numbers{})};
  };
  return c;
}

TEST(LayerNormalization, ForwardAndGradient) {
  check(layer_norm({"LayerNormalization", 17}, {{3, 7}, {7}, {7}}, 7));
  check(layer_norm({"LayerNormalization", 17}, {{2, 3, 17}, {17}, {17}}, 17));  // a vector and one
  check(layer_norm({"LayerNormalization", 17}, {{2, 2, 5}, {5}}, 5));           // no bias
  check(layer_norm({"LayerNormalization", 17, {{"epsilon", 0.5}}}, {{2, 5}, {5}, {5}}, 5, 0.5));
}

TEST(LayerNormalization, OverSeveralAxes) {
  check(layer_norm({"LayerNormalization", 17, {{"axis", int64_t{1}}}}, {{2, 3, 4}, {3, 4}, {3, 4}}, 12));
  check(layer_norm({"LayerNormalization", 17, {{"axis", int64_t{-2}}}}, {{2, 3, 4}, {1, 3, 4}, {3, 4}}, 12));
  check(layer_norm({"LayerNormalization", 17, {{"axis", int64_t{0}}}}, {{4, 3}, {4, 3}, {4, 3}}, 12));
}

// ONNX lets scale and bias be smaller than what is normalised, or larger.
TEST(LayerNormalization, ScaleAndBiasBroadcast) {
  Case c = layer_norm({"LayerNormalization", 17, {{"axis", int64_t{1}}}}, {{2, 3, 4}, {4}, {4}}, 12);
  c.y_roundings = 3;
  c.roundings = 6;
  check(c);
  c = layer_norm({"LayerNormalization", 17}, {{2, 6}, {1}, {1, 6}}, 6);
  c.y_roundings = 3;
  c.roundings = 6;
  check(c);
  c = onnx_case({"LayerNormalization", 17}, {{2, 2, 5}, {5}, {2, 1, 5}});
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers y = affine(normalized(v[0], 5, true, 2, {}), v[1], {});
    for (size_t i = 0; i < y.size(); ++i) y[i] += v[2][i / 10 * 5 + i % 5];
    return std::vector<Numbers>{y};
  };
  c.y_roundings = 2;
  c.roundings = 5;
  check(c);
}

// Neither of them has a bias, and the scale is no row.
TEST(LayerNormalization, AScaleThatBroadcastsNeedsNoBias) {
  for (const bool layer : {true, false}) {
    const OnnxNode node{
        layer ? "LayerNormalization" : "RMSNormalization", layer ? 17 : 23, {{"axis", int64_t{1}}}};
    Case c = onnx_case(node, {{2, 3, 4}, {4}});
    c.expected = [layer](const std::vector<Numbers>& v) {
      Numbers y = normalized(v[0], 12, layer, 2, {});
      for (size_t i = 0; i < y.size(); ++i) y[i] *= v[1][i % 4];
      return std::vector<Numbers>{y};
    };
    c.y_roundings = 2;
    c.roundings = 5;
    check(c);
  }
}

TEST(LayerNormalization, ItsStatisticsCanBeRead) {
  OnnxNode node{"LayerNormalization", 17};
  node.outputs = 3;
  Case c = onnx_case(node, {{3, 6}, {6}, {6}});
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers mean;
    Numbers inverse;
    for (size_t row = 0; row < 3; ++row) {
      const Moments m = moments_of({&v[0][row * 6], 6});
      mean.push_back(m.mean);
      inverse.push_back(1 / std::sqrt(m.variance + 1e-5));
    }
    return std::vector<Numbers>{affine(normalized(v[0], 6, true, 2, {}), v[1], v[2]), mean, inverse};
  };
  c.y_roundings = 12;
  c.roundings = 24;  // InvStdDev goes through six stored values
  check(c);
  node.outputs = 1;
  EXPECT_EQ(imported_ops(node, {{3, 6}, {6}, {6}}), std::vector<std::string>{"LayerNormalization"});
}

TEST(LayerNormalization, ARepeatedInputGetsBothGradients) {
  Case c = onnx_case({"LayerNormalization", 17}, {{2, 6}, {6}, {6}});
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, {x[0], x[1], x[1]})[0], build(b, x)[0]};
  };
  c.roundings += 3;
  check(c);
}

TEST(RmsNormalization, ForwardAndGradient) {
  for (const size_t n : {5U, 18U}) {
    const auto width = static_cast<int64_t>(n);
    Case c = onnx_case({"RMSNormalization", 23}, {{2, 3, width}, {width}});
    c.expected = [=](const std::vector<Numbers>& v) {
      return std::vector<Numbers>{affine(normalized(v[0], n, false, 2, {}), v[1], {})};
    };
    check(c);
  }
}

// As ONNX Runtime's optimiser writes them: before the opsets that have them.
TEST(LayerNormalization, OfFilesThatOnnxRuntimeOptimised) {
  check(layer_norm({"LayerNormalization", 11}, {{3, 7}, {7}, {7}}, 7));
  Case c = onnx_case({"SimplifiedLayerNormalization", 13, {{"epsilon", 1e-3}}}, {{3, 7}, {7}});
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{affine(normalized(v[0], 7, false, 2, {.epsilon = 1e-3}), v[1], {})};
  };
  check(c);
}

TEST(SkipLayerNormalization, ForwardAndGradient) {
  OnnxNode node{"com.microsoft.SkipLayerNormalization", 17, {{"epsilon", 1e-3}}};
  const auto expected = [](const std::vector<Numbers>& v, const Numbers& bias, bool centred,
                           const Numbers& shift) {
    Numbers sum = v[0];
    for (size_t i = 0; i < sum.size(); ++i)
      sum[i] += v[1][i % v[1].size()] + (bias.empty() ? 0 : bias[i % bias.size()]);
    return affine(normalized(sum, 5, centred, 2, {.epsilon = 1e-3}), v[2], shift);
  };
  const auto with_sums_rounded = [](Case c) {  // one or two stored sums before the norm
    c.y_roundings = 4;
    c.roundings = 8;
    return c;
  };
  Case c = onnx_case(node, {{2, 3, 5}, {2, 3, 5}, {5}, {5}, {5}});
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{expected(v, v[4], true, v[3])};
  };
  check(with_sums_rounded(c));
  c = onnx_case(node, {{2, 3, 5}, {3, 5}, {5}});  // skip is the same for all samples
  c.expected = [=](const std::vector<Numbers>& v) { return std::vector<Numbers>{expected(v, {}, true, {})}; };
  check(with_sums_rounded(c));
  node.op_type = "com.microsoft.SkipSimplifiedLayerNormalization";
  c = onnx_case(node, {{2, 3, 5}, {2, 3, 5}, {5}, {5}});
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{expected(v, v[3], false, {})};
  };
  check(with_sums_rounded(c));
  // The sum is the fourth output; mean and deviation, which only training has, are not there.
  ir::Graph graph;
  Builder b(graph, DType::kF32);
  std::vector<ValueId> x;
  for (const Shape& shape : {Shape{2, 5}, Shape{2, 5}, Shape{5}}) {
    ir::Value v;
    v.kind = ir::ValueKind::kInput;
    v.type = {DType::kF32, shape};
    x.push_back(graph.add_value(v));
  }
  node.outputs = 4;
  const std::vector<ValueId> out = import(b, node, x);
  ASSERT_EQ(out.size(), 4U);
  EXPECT_TRUE(out[1] == kNone && out[2] == kNone && out[3] != kNone);
  EXPECT_EQ(graph.nodes[0].op, "Add");
  EXPECT_EQ(out[3], graph.nodes[0].outputs[0]);
  EXPECT_NE(refusal(node, {{2, 5}, {3, 5}, {5}}).find("input 1 has shape 3x5"), std::string::npos)
      << refusal(node, {{2, 5}, {3, 5}, {5}});
  EXPECT_NE(refusal(node, {{2, 5}, {2, 5}, {4}}).find("the scale has shape 4"), std::string::npos);
}

TEST(LpNormalization, ForwardAndGradient) {
  for (const int64_t p : {int64_t{1}, int64_t{2}}) {
    Case c = onnx_case({"LpNormalization", 22, {{"p", p}}}, {{3, 17}});
    c.kinks = {0};
    c.expected = [=](const std::vector<Numbers>& v) {
      return std::vector<Numbers>{
          normalized(v[0], 17, false, static_cast<int>(p), {.epsilon = 0, .factor = 1})};
    };
    check(c);
    // Another axis, in between.
    c = onnx_case({"LpNormalization", 9, {{"p", p}, {"axis", int64_t{1}}}}, {{2, 5, 3}});
    c.kinks = {0};
    c.expected = [=](const std::vector<Numbers>& v) {
      Numbers y(v[0].size());
      for (size_t n = 0; n < 2; ++n)
        for (size_t k = 0; k < 3; ++k) {
          Numbers row;
          for (size_t i = 0; i < 5; ++i) row.push_back(v[0][n * 15 + i * 3 + k]);
          row = normalized(row, 5, false, static_cast<int>(p), {.epsilon = 0, .factor = 1});
          for (size_t i = 0; i < 5; ++i) y[n * 15 + i * 3 + k] = row[i];
        }
      return std::vector<Numbers>{y};
    };
    check(c);
  }
}

// ONNX: a row of zeros stays one.
TEST(LpNormalization, ZerosStayZeros) {
  for (const int64_t p : {int64_t{1}, int64_t{2}}) {
    const Case c = onnx_case({"LpNormalization", 22, {{"p", p}}}, {{2, 3}});
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
      const Result r = run(c, dtype, {{0, 0, 0, 3, 0, 0}}, {{1, 2, 3, 1, 2, 3}});
      EXPECT_EQ(r.y[0], (Numbers{0, 0, 0, 1, 0, 0}));
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(r.dx[0][i], 0);
    }
  }
}

TEST(MeanVarianceNormalization, ForwardAndGradient) {
  Case c = onnx_case({"MeanVarianceNormalization", 13}, {{2, 3, 2, 2}});
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers y(v[0].size());
    for (size_t k = 0; k < 3; ++k) {
      Numbers row;
      for (size_t i = 0; i < 8; ++i) row.push_back(v[0][i / 4 * 12 + k * 4 + i % 4]);
      row = normalized(row, 8, true, 2, {.epsilon = 0, .outside = 1e-9});
      for (size_t i = 0; i < 8; ++i) y[i / 4 * 12 + k * 4 + i % 4] = row[i];
    }
    return std::vector<Numbers>{y};
  };
  check(c);
  c = onnx_case({"MeanVarianceNormalization", 9, {{"axes", std::vector<int64_t>{-1}}}}, {{4, 6}});
  c.expected = [](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{normalized(v[0], 6, true, 2, {.epsilon = 0, .outside = 1e-9})};
  };
  check(c);
}

// What nodes can say and no operator of ONNX: a floor below the size, an epsilon behind the root, N - 1.
TEST(Normalizations, FloorEpsilonsAndFactor) {
  const auto made = [](std::string op, Attributes attributes, bool centred, const Spread& s) {
    Case c;
    c.inputs = {{4, 6}, {6}, {6}};
    attributes.set("axis", int64_t{1});
    c.build = [=](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{b.add1(op, {x[0], x[1], x[2]}, attributes)};
    };
    c.expected = [=](const std::vector<Numbers>& v) {
      return std::vector<Numbers>{affine(normalized(v[0], 6, centred, 2, s), v[1], v[2])};
    };
    return c;
  };
  check(made("LayerNormalization", {{"outside", 0.25}, {"factor", 0.2}}, true,
             {.epsilon = 0, .outside = 0.25, .factor = 0.2}));
  check(made("RMSNormalization", {{"outside", 0.25}, {"epsilon", 0.5}, {"factor", 2.0}}, false,
             {.epsilon = 0.5, .outside = 0.25, .factor = 2}));
  // The floor decides all rows, and none.
  for (const double floor : {100.0, 0.01}) {
    check(made("RMSNormalization", {{"floor", floor}, {"factor", 1.0}}, false,
               {.epsilon = 0, .floor = floor, .factor = 1}));
    check(made("LayerNormalization", {{"floor", floor}, {"outside", 0.125}}, true,
               {.epsilon = 0, .floor = floor, .outside = 0.125}));
  }
}

TEST(Normalizations, AMissingScaleOrBias) {
  for (const char* op : {"LayerNormalization", "RMSNormalization", "L1Normalization"})
    for (const bool bias : {false, true}) {
      Case c;
      c.inputs = {{2, 6}};
      if (bias) c.inputs.push_back({6});
      c.kinks = {0};
      c.build = [=](Builder& b, const std::vector<ValueId>& x) {
        return std::vector<ValueId>{
            b.add1(op, {x[0], kNone, bias ? x[1] : kNone}, {{"axis", int64_t{1}}, {"epsilon", 1e-5}})};
      };
      check(c);
    }
}

// Rows longer than a chunk, more rows than chunks may be, and a short last chunk: against the same rows
// alone.
TEST(Normalizations, ChunksMeetWithoutGapOrOverlap) {
  for (const Shape& shape : {Shape{3, 20011}, Shape{2, 40000}, Shape{5003, 7}, Shape{300, 700}}) {
    Case c = layer_norm({"LayerNormalization", 17}, {shape, {shape[1]}, {shape[1]}},
                        static_cast<size_t>(shape[1]));
    // x and dy are not read afterwards: dx may lie where they do.
    c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
      const auto copied = [&](ValueId id) { return b.add1("Scale", {id}, {{"alpha", 1.0}, {"beta", 0.0}}); };
      return std::vector<ValueId>{copied(build(b, {copied(x[0]), x[1], x[2]})[0])};
    };
    const std::vector<Numbers> x = random_inputs(c, DType::kF32);
    Numbers dy = x[0];
    for (size_t i = 0; i < dy.size(); ++i) dy[i] = x[0][(i * 7 + 3) % dy.size()];
    const Result wide = run(c, DType::kF64, x, {dy});
    const Result got = run(c, DType::kF32, x, {dy}, kern::Isa::kReference, 3);
    const Numbers expected = c.expected(x)[0];
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(wide.y[0][i], expected[i], 1e-7) << "element " << i;
      ASSERT_NEAR(got.y[0][i], expected[i], 1e-4) << "element " << i;
    }
    // dbias is a plain sum over rows, dscale one of dy * (y - bias) / scale.
    Numbers dbias(static_cast<size_t>(shape[1]), 0.0);
    Numbers dscale = dbias;
    const Numbers xhat = normalized(x[0], dbias.size(), true, 2, {});
    for (size_t i = 0; i < dy.size(); ++i) {
      dbias[i % dbias.size()] += dy[i];
      dscale[i % dbias.size()] += dy[i] * xhat[i];
    }
    for (size_t i = 0; i < dbias.size(); ++i) {
      ASSERT_NEAR(wide.dx[2][i], dbias[i], 1e-7) << i;
      ASSERT_NEAR(wide.dx[1][i], dscale[i], 1e-6) << i;
      ASSERT_NEAR(got.dx[2][i], dbias[i], 1e-2) << i;
    }
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      const std::vector<Numbers> stored = random_inputs(c, dtype);
      const Result one = run(c, dtype, stored, {stored[0]}, kern::available().back(), 1);
      const Result three = run(c, dtype, stored, {stored[0]}, kern::Isa::kReference, 3);
      ASSERT_EQ(one.y, three.y);
      ASSERT_EQ(one.dx, three.dx);
    }
  }
}

// Squares of 16-bit numbers beyond what 16 bits hold.
TEST(Normalizations, LargeNumbersDoNotOverflow) {
  const Case c = layer_norm({"LayerNormalization", 17}, {{1, 4}, {4}, {4}}, 4);
  const Numbers y = forward(c, DType::kF16, {{60000, -60000, 60000, -60000}, {1, 1, 1, 1}, {0, 0, 0, 0}})[0];
  EXPECT_EQ(y, (Numbers{1, -1, 1, -1}));
  const Case rms = onnx_case({"RMSNormalization", 23}, {{1, 3}, {3}});
  EXPECT_EQ(forward(rms, DType::kF16, {{300, 300, -300}, {2, 2, 2}})[0], (Numbers{2, 2, -2}));
}

// No row of zeros, whose cause nobody would find.
TEST(Normalizations, WhatIsNotFiniteOrOverflowsMakesTheRowNan) {
  for (const char* op : {"LayerNormalization", "RMSNormalization", "L1Normalization"}) {
    Case c;
    c.inputs = {{3, 4}};
    c.build = [=](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{b.add1(op, {x[0]}, {{"axis", int64_t{1}}, {"epsilon", 1e-5}})};
    };
    const double inf = std::numeric_limits<double>::infinity();
    const Numbers dy(12, 1);
    const Numbers y = run(c, DType::kF16, {{1, 2, inf, 4, 1, 2, 3, 4, 1, std::nan(""), 3, 4}}, {dy}).y[0];
    for (const size_t i : {0U, 1U, 2U, 3U, 8U, 9U, 10U, 11U}) EXPECT_TRUE(std::isnan(y[i])) << op << " " << i;
    for (const size_t i : {4U, 5U, 6U, 7U}) EXPECT_TRUE(std::isfinite(y[i])) << op << " " << i;
    if (op == std::string("L1Normalization")) continue;
    const Numbers overflowed =
        run(c, DType::kBf16, {{1e30, -1e30, 1e30, 0, 1, 2, 3, 4, 1, 2, 3, 4}}, {dy}).y[0];
    EXPECT_TRUE(std::isnan(overflowed[0])) << op;
    EXPECT_TRUE(std::isfinite(overflowed[4])) << op;
  }
}

TEST(Normalizations, RefuseWhatTheyDoNotUnderstand) {
  const auto layer = [](const Attributes& a, const std::vector<Shape>& shapes) {
    return refusal({"LayerNormalization", 17, a}, shapes);
  };
  EXPECT_EQ(layer({}, {{2, 3}, {3}, {3}}), "");
  EXPECT_NE(layer({{"axis", int64_t{2}}}, {{2, 3}, {3}}).find("axis 2"), std::string::npos);
  EXPECT_NE(layer({{"stash_type", int64_t{16}}}, {{2, 3}, {3}}).find("stash_type is 16"), std::string::npos);
  EXPECT_NE(layer({{"beta", 1.0}}, {{2, 3}, {3}}).find("'beta'"), std::string::npos);
  EXPECT_NE(layer({}, {{2, 3}, {2}}).find("the scale has shape 2"), std::string::npos)
      << layer({}, {{2, 3}, {2}});
  EXPECT_NE(layer({}, {{2, 3}, {3}, {4}}).find("the bias has shape 4"), std::string::npos);
  EXPECT_NE(layer({}, {{2, 3}, {1, 1, 3}}).find("the scale has shape 1x1x3"), std::string::npos);
  EXPECT_NE(layer({}, {{2, 0}, {0}}).find("over no elements"), std::string::npos) << layer({}, {{2, 0}, {0}});
  EXPECT_NE(refusal({"LpNormalization", 22, {{"p", int64_t{3}}}}, {{2, 3}}).find("p is 3"),
            std::string::npos);
  EXPECT_NE(refusal({"LpNormalization", 22, {{"axis", int64_t{-3}}}}, {{2, 3}}).find("axis -3"),
            std::string::npos);
  EXPECT_NE(refusal({"MeanVarianceNormalization", 13}, {{2, 3}}).find("axis"), std::string::npos);
  EXPECT_NE(refusal({"MeanVarianceNormalization", 13, {{"axes", std::vector<int64_t>{}}}}, {{2, 3}})
                .find("axes is empty"),
            std::string::npos);
  EXPECT_NE(refusal({"RMSNormalization", 23, {{"stash_type", int64_t{10}}}}, {{2, 3}, {3}})
                .find("stash_type is 10"),
            std::string::npos);
  EXPECT_NE(refusal({{DType::kI32, {3, 2}}}, "LayerNormalization", {{"axis", int64_t{1}}}).find("got int32"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
