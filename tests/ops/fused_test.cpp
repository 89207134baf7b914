// ONNX Runtime's operators that stand for several of ONNX's, against what they are documented to be.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "gradient_check.h"
#include "moments.h"

namespace halftone::ops::test {
namespace {

double gelu(double x) {
  return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
}
double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

void says(const std::string& part, const OnnxNode& n, const std::vector<Shape>& inputs) {
  const std::string message = refusal(n, inputs);
  EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
}

TEST(Fused, Gelus) {
  Case plain = onnx_case({"com.microsoft.Gelu"}, {{3, 5}});
  plain.expected = [](const std::vector<Numbers>& v) { return std::vector<Numbers>{map(v[0], gelu)}; };
  check(plain);
  Case quick = onnx_case({"com.microsoft.QuickGelu", 17, {{"alpha", 1.5}}}, {{3, 5}});
  quick.expected = [](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{map(v[0], [](double x) { return x / (1 + std::exp(-1.5 * x)); })};
  };
  check(quick);
  for (const bool tanh : {false, true}) {
    Case c = onnx_case({tanh ? "com.microsoft.FastGelu" : "com.microsoft.BiasGelu"}, {{2, 3, 5}, {5}});
    c.expected = [=](const std::vector<Numbers>& v) {
      const Numbers sum = broadcast_map(v[0], {2, 3, 5}, v[1], {5}, [](double x, double y) { return x + y; });
      return std::vector<Numbers>{map(sum, tanh ? gelu_tanh : gelu)};
    };
    c.low = 0.25;  // a sum that cancels has an error beyond its own size
    c.y_roundings = 3;
    c.roundings = 8;
    check(c);
  }
  EXPECT_EQ(imported_ops({"com.microsoft.FastGelu"}, {{2}}), (std::vector<std::string>{"GeluTanh"}));
  // Without an alpha 1.702.
  const Numbers y = forward(onnx_case({"com.microsoft.QuickGelu"}, {{1}}), DType::kF64, {{1}})[0];
  EXPECT_NEAR(y[0], 1 / (1 + std::exp(-1.702)), 1e-12);
  says("bias, is missing", {"com.microsoft.BiasGelu"}, {{2, 3}});
  says("cannot be broadcast", {"com.microsoft.BiasGelu"}, {{2, 3}, {2}});
  says("2 inputs, Halftone knows 1", {"com.microsoft.QuickGelu"}, {{2, 3}, {3}});
}

TEST(Fused, MatMulTransposesAndScales) {
  Case c = onnx_case(
      {"com.microsoft.FusedMatMul", 17, {{"transA", int64_t{1}}, {"transB", int64_t{1}}, {"alpha", 0.5}}},
      {{2, 4, 3}, {2, 5, 4}});
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers y;
    for (size_t b = 0; b < 2; ++b)
      for (size_t i = 0; i < 3; ++i)
        for (size_t j = 0; j < 5; ++j) {
          double sum = 0;
          for (size_t k = 0; k < 4; ++k) sum += v[0][(b * 4 + k) * 3 + i] * v[1][(b * 5 + j) * 4 + k];
          y.push_back(sum / 2);
        }
    return std::vector<Numbers>{y};
  };
  check(c);
  EXPECT_EQ(imported_shapes({"com.microsoft.FusedMatMul", 17, {{"alpha", 2.0}}}, {{4}, {4, 3}}),
            (std::vector<Shape>{{3}}));
  says("transBatchA is 1", {"com.microsoft.FusedMatMul", 17, {{"transBatchA", int64_t{1}}}},
       {{2, 3, 4}, {2, 4, 5}});
  says("cannot be transposed", {"com.microsoft.FusedMatMul", 17, {{"transA", int64_t{1}}}}, {{4}, {4, 3}});
}

TEST(Fused, ConvAddsAndActivates) {
  // One pixel: y = w x + b + z.
  const auto convolved = [](const std::string& activation, const std::vector<double>& params) {
    OnnxNode n{"com.microsoft.FusedConv"};
    n.attributes.set("activation", activation);
    if (!params.empty()) n.attributes.set("activation_params", params);
    return onnx_case(n, {{1, 2, 1, 1}, {2, 2, 1, 1}, {2}, {1, 2, 1, 1}});
  };
  struct Row {
    const char* name;
    std::vector<double> params;
    double (*f)(double);
    std::vector<double> kinks;
  };
  const std::vector<Row> rows = {{"Tanh", {}, [](double x) { return std::tanh(x); }, {}},
                                 {"Sigmoid", {}, [](double x) { return 1 / (1 + std::exp(-x)); }, {}}};
  for (const Row& row : rows) {
    Case c = convolved(row.name, row.params);
    c.low = -1;
    c.high = 1;
    c.expected = [f = row.f](const std::vector<Numbers>& v) {
      Numbers y;
      for (size_t i = 0; i < 2; ++i)
        y.push_back(f(v[1][2 * i] * v[0][0] + v[1][2 * i + 1] * v[0][1] + v[2][i] + v[3][i]));
      return std::vector<Numbers>{y};
    };
    c.y_roundings = 6;
    c.roundings = 16;
    check(c);
  }
  // Those with kinks at numbers that are exact.
  const std::vector<Numbers> v = {{1, 2}, {1, 1, -2, -1}, {0.5, 0}, {0, 1}};  // 3.5 and -3
  EXPECT_EQ(forward(convolved("Relu", {}), DType::kF32, v)[0], (Numbers{3.5, 0}));
  EXPECT_EQ(forward(convolved("LeakyRelu", {0.25}), DType::kF32, v)[0], (Numbers{3.5, -0.75}));
  EXPECT_EQ(forward(convolved("Clip", {-1, 2}), DType::kF32, v)[0], (Numbers{2, -1}));
  EXPECT_EQ(forward(convolved("HardSigmoid", {0.125, 0.5}), DType::kF32, v)[0], (Numbers{0.9375, 0.125}));
  const std::vector<Shape> shapes{{1, 2, 1, 1}, {2, 2, 1, 1}, {2}, {1, 2, 1, 1}};
  says("activation 'Elu' is not known", {"com.microsoft.FusedConv", 17, {{"activation", std::string("Elu")}}},
       shapes);
  says("0 activation_params, expected 1",
       {"com.microsoft.FusedConv", 17, {{"activation", std::string("LeakyRelu")}}}, shapes);
  says("input 3, which is added", {"com.microsoft.FusedConv"}, {{1, 2, 1, 1}, {2, 2, 1, 1}, {2}, {2}});
}

TEST(Fused, EmbeddingsAreAddedAndNormalised) {
  OnnxNode n{"com.microsoft.EmbedLayerNormalization", 17, {{"epsilon", 1e-6}}};
  n.known = {{0, ints({1, 0, 2, 2}, {2, 2}, DType::kI32)},
             {1, ints({0, 1, 1, 0}, {2, 2}, DType::kI32)},
             {7, ints({1, 1, 1, 0}, {2, 2}, DType::kI32)}};
  n.outputs = 3;
  Case c = onnx_case(n, {{3, 4}, {5, 4}, {2, 4}, {4}, {4}});
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    const std::vector<ValueId> y = build(b, x);
    return std::vector<ValueId>{y[0], y[2]};
  };
  c.expected = [](const std::vector<Numbers>& v) {
    const size_t ids[] = {1, 0, 2, 2};
    const size_t segments[] = {0, 1, 1, 0};
    Numbers y;
    Numbers sums;
    for (size_t t = 0; t < 4; ++t) {
      Numbers row;
      for (size_t k = 0; k < 4; ++k)
        row.push_back(v[0][ids[t] * 4 + k] + v[1][t % 2 * 4 + k] + v[2][segments[t] * 4 + k]);
      const Moments m = moments_of(row);
      for (size_t k = 0; k < 4; ++k)
        y.push_back((row[k] - m.mean) / std::sqrt(m.variance + 1e-6) * v[3][k] + v[4][k]);
      sums.insert(sums.end(), row.begin(), row.end());
    }
    return std::vector<Numbers>{y, sums};
  };
  c.nonzero = 0.25;    // most positions do not occur
  c.y_roundings = 40;  // what two roundings of the sum become where its spread is small
  c.roundings = 200;
  check(c);
  const auto node = [](std::map<size_t, TensorPtr> known) {
    OnnxNode made{"com.microsoft.EmbedLayerNormalization"};
    made.known = std::move(known);
    return made;
  };
  says("belong together",
       node({{0, ints({0}, {1, 1}, DType::kI32)}, {1, ints({0}, {1, 1}, DType::kI32)}, {4, nullptr}}),
       {{3, 4}, {5, 4}, {4}, {4}});
  says("ids are to be 0 or more, got -1",
       node({{0, ints({0, -1}, {1, 2}, DType::kI32)}, {1, nullptr}, {4, nullptr}}),
       {{3, 4}, {5, 4}, {4}, {4}});
  says("ids are 1", node({{0, ints({0}, {1}, DType::kI32)}, {1, nullptr}, {4, nullptr}}),
       {{3, 4}, {5, 4}, {4}, {4}});
}

// q[h][s][d] and so on from rows of features; weights of heads, one sample.
Numbers attended(const Numbers& q, const Numbers& k, const Numbers& v, size_t heads, size_t queries,
                 size_t keys, size_t size, double scale,
                 const std::function<double(size_t, size_t, size_t)>& mask) {
  Numbers y(queries * heads * size, 0);
  for (size_t h = 0; h < heads; ++h)
    for (size_t i = 0; i < queries; ++i) {
      Numbers weights;
      double sum = 0;
      for (size_t j = 0; j < keys; ++j) {
        double score = 0;
        for (size_t d = 0; d < size; ++d)
          score += q[(i * heads + h) * size + d] * k[(j * heads + h) * size + d];
        weights.push_back(std::exp(score * scale + mask(h, i, j)));
        sum += weights.back();
      }
      for (size_t j = 0; j < keys; ++j)
        for (size_t d = 0; d < size; ++d)
          y[(i * heads + h) * size + d] += weights[j] / sum * v[(j * heads + h) * size + d];
    }
  return y;
}

TEST(FusedAttention, ProjectsAndMasks) {
  for (const bool causal : {false, true}) {
    OnnxNode n{
        "com.microsoft.Attention", 17, {{"num_heads", int64_t{2}}, {"unidirectional", int64_t{causal}}}};
    n.known = {{3, ints({1, 1, 0}, {1, 3}, DType::kI32)}};
    Case c = onnx_case(n, {{1, 3, 3}, {3, 12}, {12}});
    c.low = -1;
    c.high = 1;
    c.expected = [=](const std::vector<Numbers>& v) {
      Numbers parts[3];
      for (size_t p = 0; p < 3; ++p)
        for (size_t i = 0; i < 3; ++i)
          for (size_t f = 0; f < 4; ++f) {
            double x = v[2][p * 4 + f];
            for (size_t k = 0; k < 3; ++k) x += v[0][i * 3 + k] * v[1][k * 12 + p * 4 + f];
            parts[p].push_back(x);
          }
      return std::vector<Numbers>{attended(
          parts[0], parts[1], parts[2], 2, 3, 3, 2, 1 / std::sqrt(2.0), [=](size_t, size_t i, size_t j) {
            return (j == 2 ? -10000.0 : 0.0) + (causal && j > i ? -INFINITY : 0.0);
          })};
    };
    c.y_roundings = 16;
    c.roundings = 4 * 40;
    c.fixed = {2};  // what all keys have in common changes nothing: a sum of terms that cancel
    check(c);
  }
  // A number of keys a sample, of the samples themselves: of three keys one is left.
  OnnxNode n{"com.microsoft.Attention", 17, {{"num_heads", int64_t{1}}}};
  Case c = onnx_case(n, {{1, 3, 1}, {1, 3}, {3}, {1}});
  c.whole = {{3, DType::kI32}};
  EXPECT_EQ(forward(c, DType::kF32, {{4, 5, 6}, {0, 0, 1}, {0, 0, 0}, {1}})[0], (Numbers{4, 4, 4}));
  n.outputs = 2;
  n.known = {{3, nullptr}};
  EXPECT_EQ(imported_shapes(n, {{2, 3, 4}, {4, 12}, {12}, {2, 2, 1, 5, 4}}),
            (std::vector<Shape>{{2, 3, 4}, {2, 2, 1, 8, 4}}));
  const std::vector<Shape> shapes{{1, 3, 4}, {4, 12}, {12}};
  says("num_heads is 0", {"com.microsoft.Attention"}, shapes);
  says("do_rotary is 1",
       {"com.microsoft.Attention", 17, {{"num_heads", int64_t{1}}, {"do_rotary", int64_t{1}}}}, shapes);
  says("5 heads of 1x3x4", {"com.microsoft.Attention", 17, {{"num_heads", int64_t{5}}}}, shapes);
  says("'unidirectional' is 2, expected 0 or 1",
       {"com.microsoft.Attention", 17, {{"num_heads", int64_t{1}}, {"unidirectional", int64_t{2}}}}, shapes);
  says("a mask (input 3) of 4",
       {"com.microsoft.Attention",
        17,
        {{"num_heads", int64_t{1}}},
        {{3, ints({1, 2, 3, 4}, {4}, DType::kI32)}}},
       shapes);
}

TEST(FusedAttention, OfSeveralHeads) {
  OnnxNode n{"com.microsoft.MultiHeadAttention", 17, {{"num_heads", int64_t{2}}, {"scale", 0.25}}};
  n.known = {{4, nullptr}};
  Case c = onnx_case(n, {{1, 3, 4}, {1, 2, 4}, {1, 2, 4}, {12}, {1, 2, 3, 2}});
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0]};
  };
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers parts[3];
    for (size_t p = 0; p < 3; ++p)
      for (size_t i = 0; i < v[p].size(); ++i) parts[p].push_back(v[p][i] + v[3][p * 4 + i % 4]);
    return std::vector<Numbers>{
        attended(parts[0], parts[1], parts[2], 2, 3, 2, 2, 0.25,
                 [&](size_t h, size_t i, size_t j) { return v[4][(h * 3 + i) * 2 + j]; })};
  };
  c.y_roundings = 12;
  c.roundings = 4 * 40;
  c.fixed = {3};  // as above
  check(c);
  n.known = {};
  n.outputs = 3;
  const Attributes heads{{"num_heads", int64_t{2}}};
  // Keys and values of 4 dimensions; past ones before them.
  EXPECT_EQ(imported_shapes({"com.microsoft.MultiHeadAttention", 17, heads},
                            {{2, 3, 4}, {2, 2, 5, 2}, {2, 2, 5, 3}}),
            (std::vector<Shape>{{2, 3, 6}, {2, 2, 5, 2}, {2, 2, 5, 3}}));
  OnnxNode past{"com.microsoft.MultiHeadAttention", 17, heads, {{3, nullptr}, {4, nullptr}, {5, nullptr}}, 3};
  EXPECT_EQ(imported_shapes(past, {{2, 3, 4}, {2, 3, 4}, {2, 3, 4}, {2, 2, 6, 2}, {2, 2, 6, 2}}),
            (std::vector<Shape>{{2, 3, 4}, {2, 2, 9, 2}, {2, 2, 9, 2}}));
  says("packed into one input", {"com.microsoft.MultiHeadAttention", 17, heads}, {{2, 3, 2, 3, 2}});
  says("don't fit", {"com.microsoft.MultiHeadAttention", 17, heads}, {{2, 3, 4}, {2, 5, 4}, {2, 6, 4}});
  // Which queries see the last keys is not said where there are more than queries; one query sees all.
  const Attributes causal{{"num_heads", int64_t{2}}, {"unidirectional", int64_t{1}}};
  says("5 keys for 3 queries after 0 past keys", {"com.microsoft.MultiHeadAttention", 17, causal},
       {{2, 3, 4}, {2, 5, 4}, {2, 5, 4}});
  EXPECT_EQ(
      imported_shapes({"com.microsoft.MultiHeadAttention", 17, causal}, {{2, 1, 4}, {2, 5, 4}, {2, 5, 4}}),
      (std::vector<Shape>{{2, 1, 4}, {2, 2, 5, 2}, {2, 2, 5, 2}}));
  says("the bias is 7", {"com.microsoft.MultiHeadAttention", 17, heads},
       {{2, 3, 4}, {2, 3, 4}, {2, 3, 4}, {7}});
}

TEST(FusedAttention, RotaryTablesAreChosenByPositions) {
  for (const bool one : {false, true}) {
    OnnxNode n{"com.microsoft.RotaryEmbedding", 17, {{"interleaved", int64_t{1}}}};
    n.known = {{1, one ? ints({2}) : ints({2, 3}, {1, 2})}};
    Case c = onnx_case(n, {{1, 2, 4}, {5, 1}, {5, 1}});  // two heads of 2
    c.expected = [](const std::vector<Numbers>& v) {
      Numbers y;
      for (size_t t = 0; t < 2; ++t)
        for (size_t h = 0; h < 2; ++h) {
          const double* x = &v[0][t * 4 + h * 2];
          y.push_back(v[1][2 + t] * x[0] - v[2][2 + t] * x[1]);
          y.push_back(v[2][2 + t] * x[0] + v[1][2 + t] * x[1]);
        }
      return std::vector<Numbers>{y};
    };
    c.nonzero = 0.25;
    c.y_roundings = 3;
    check(c);
  }
  const OnnxNode packed{
      "com.microsoft.RotaryEmbedding", 17, {{"is_packed_batching", int64_t{1}}}, {{1, ints({0})}}};
  says("is_packed_batching", packed, {{1, 2, 4}, {5, 1}, {5, 1}});
  says("position_ids are 3", {"com.microsoft.RotaryEmbedding", 17, {}, {{1, ints({0, 1, 2})}}},
       {{1, 2, 4}, {5, 1}, {5, 1}});
  // A position below 0 is none, known or not.
  says("position_ids are to be 0 or more, got -1",
       {"com.microsoft.RotaryEmbedding", 17, {}, {{1, ints({0, -1}, {1, 2})}}}, {{1, 2, 4}, {5, 1}, {5, 1}});
  Case c = onnx_case({"com.microsoft.RotaryEmbedding"}, {{1, 2, 2}, {1, 2}, {5, 1}, {5, 1}});
  c.whole = {{1, DType::kI64}};
  for (const Numbers& positions : {Numbers{0, -1}, Numbers{5, 0}})
    EXPECT_THROW(forward(c, DType::kF32, {{1, 2, 3, 4}, positions, Numbers(5, 1.0), Numbers(5, 0.0)}), Error);
}

}  // namespace
}  // namespace halftone::ops::test
