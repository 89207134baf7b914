// Attention and RotaryEmbedding, against their definitions.
#include <gtest/gtest.h>

#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

// Q[1, Hq, L, D], K and V[1, Hk, S, D]
Numbers attended(const std::vector<Numbers>& v, int64_t hq, int64_t hk, int64_t l, int64_t s, int64_t d,
                 double cap, bool causal, const Numbers& mask) {
  Numbers y;
  for (int64_t h = 0; h < hq; ++h)
    for (int64_t i = 0; i < l; ++i) {
      const int64_t group = h / (hq / hk);
      Numbers weight;
      double sum = 0;
      for (int64_t j = 0; j < s; ++j) {
        double score = 0;
        for (int64_t k = 0; k < d; ++k)
          score += v[0][static_cast<size_t>((h * l + i) * d + k)] *
                   v[1][static_cast<size_t>((group * s + j) * d + k)];
        score /= std::sqrt(static_cast<double>(d));
        if (cap > 0) score = cap * std::tanh(score / cap);
        if (!mask.empty()) score += mask[static_cast<size_t>(i * s + j)];
        weight.push_back(causal && j > i ? 0 : std::exp(score));
        sum += weight.back();
      }
      for (int64_t k = 0; k < d; ++k) {
        double out = 0;
        for (int64_t j = 0; j < s; ++j)
          out += weight[static_cast<size_t>(j)] / sum * v[2][static_cast<size_t>((group * s + j) * d + k)];
        y.push_back(out);
      }
    }
  return y;
}

Case make(OnnxNode n, int64_t hq, int64_t hk, double cap, bool causal, const Numbers& mask) {
  Case c = onnx_case(n, {{1, hq, 3, 2}, {1, hk, 3, 2}, {1, hk, 3, 2}});
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0]};
  };
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{attended(v, hq, hk, 3, 3, 2, cap, causal, mask)};
  };
  c.y_roundings = 8;
  // A softmax's gradient is a difference of terms that may be some times larger than what is left of them.
  c.roundings = 4 * 24;
  return c;
}

TEST(Attention, ForwardAndGradient) {
  check(make({"Attention", 23}, 2, 2, 0, false, {}));
  check(make({"Attention", 23, {{"is_causal", int64_t{1}}}}, 4, 2, 0, true, {}));  // heads in groups
  const Numbers mask = {0, 0.5, -1, 0.25, 0, 0, -2, 1, 0};
  check(make({"Attention", 23, {{"softcap", 2.0}}, {{3, floats(mask, {3, 3})}}}, 2, 1, 2, false, mask));
}

TEST(Attention, OfThreeDimensionsAndBooleanMasks) {
  const Attributes heads{{"q_num_heads", int64_t{4}}, {"kv_num_heads", int64_t{2}}};
  OnnxNode n{"Attention", 23, heads};
  n.outputs = 3;
  EXPECT_EQ(imported_shapes(n, {{2, 5, 12}, {2, 7, 6}, {2, 7, 10}}),
            (std::vector<Shape>{{2, 5, 20}, {2, 2, 7, 3}, {2, 2, 7, 5}}));
  // Of two keys one is allowed: its value comes out.
  const OnnxNode masked{"Attention", 23, {}, {{3, ints({0, 1}, {1, 2}, DType::kU8)}}};
  EXPECT_EQ(forward(onnx_case(masked, {{1, 1, 1, 1}, {1, 1, 2, 1}, {1, 1, 2, 1}}), DType::kF16,
                    {{1}, {3, 1}, {5, 7}})[0],
            (Numbers{7}));
  // A mask of the samples is no other.
  Case c = onnx_case({"Attention", 23}, {{1, 1, 1, 1}, {1, 1, 2, 1}, {1, 1, 2, 1}, {1, 2}});
  c.whole = {{3, DType::kU8}};
  for (const DType dtype : {DType::kF64, DType::kF16})
    EXPECT_EQ(forward(c, dtype, {{1}, {3, 1}, {5, 7}, {0, 1}})[0], (Numbers{7}));
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& part, const OnnxNode& n, const std::vector<Shape>& inputs) {
    const std::string message = refusal(n, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  const std::vector<Shape> good{{1, 2, 3, 2}, {1, 2, 3, 2}, {1, 2, 3, 2}};
  says("qk_matmul_output_mode is 4", {"Attention", 23, {{"qk_matmul_output_mode", int64_t{4}}}}, good);
  says("don't fit", {"Attention", 23}, {{1, 3, 3, 2}, {1, 2, 3, 2}, {1, 2, 3, 2}});
  says("need the attribute q_num_heads", {"Attention", 23}, {{1, 3, 4}, {1, 3, 4}, {1, 3, 4}});
  says("q_num_heads is 3", {"Attention", 23, {{"q_num_heads", int64_t{3}}}},
       {{1, 3, 4}, {1, 3, 4}, {1, 3, 4}});
  says("does not fit scores of 1x2x3x3", {"Attention", 23, {}, {{3, floats({0, 0}, {2})}}}, good);
  says("must be of booleans or floats, got int64", {"Attention", 23, {}, {{3, ints({0, 0, 0}, {1, 3})}}},
       good);
  const std::vector<Shape> caches{{1, 2, 3, 2}, {1, 2, 3, 2}, {1, 2, 3, 2}};
  says("from opset 24 on", {"Attention", 23, {}, {{3, nullptr}, {4, nullptr}, {5, nullptr}, {6, ints({2})}}},
       caches);
  says("an integer for each of 1 samples",
       {"Attention", 24, {}, {{3, nullptr}, {4, nullptr}, {5, nullptr}, {6, ints({2, 2})}}}, caches);
  says("opset 24 says of its last axis", {"Attention", 24, {}, {{3, floats({0, 0, 0}, {3, 1})}}}, good);
}

// As ONNX and its runtimes have it: 0, and no gradient, where a softmax of nothing would be NaN.
TEST(Attention, AQueryWithoutAKeyGivesZero) {
  const std::vector<Shape> inputs{{1, 1, 2, 1}, {1, 1, 2, 1}, {1, 1, 2, 1}};
  const std::vector<Numbers> x = {{1, 2}, {3, 1}, {5, 7}};
  const OnnxNode known{"Attention", 23, {}, {{3, ints({0, 0, 0, 1}, {2, 2}, DType::kU8)}}};
  std::vector<Shape> with_mask = inputs;
  with_mask.push_back({2, 2});
  Case booleans = onnx_case({"Attention", 23}, with_mask);
  booleans.whole = {{3, DType::kU8}};
  booleans.fixed = {3};
  const Case as_floats =
      onnx_case({"Attention", 23, {}, {{3, floats({-INFINITY, -INFINITY, -INFINITY, 0}, {2, 2})}}}, inputs);
  std::vector<Numbers> more = x;
  more.push_back({0, 0, 0, 1});
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
    for (const auto& [c, at] : {std::pair{onnx_case(known, inputs), x}, {booleans, more}, {as_floats, x}}) {
      Case first = c;
      first.build = [build = c.build](Builder& b, const std::vector<ValueId>& in) {
        return std::vector<ValueId>{build(b, in)[0]};
      };
      const Result r = run(first, dtype, at, {{1, 1}});
      EXPECT_EQ(r.y[0], (Numbers{0, 7}));
      EXPECT_EQ(r.dx[2], (Numbers{0, 1}));  // the second query's key is the second one
      EXPECT_EQ(r.dx[0], (Numbers{0, 0}));
    }
  }
}

// The keys that a sample has; with is_causal the last query sees the last of them.
TEST(Attention, LengthsOfTheKeys) {
  const auto y = [](bool causal, double length) {
    Case c = onnx_case(
        {"Attention", 24, {{"is_causal", int64_t{causal}}}, {{3, nullptr}, {4, nullptr}, {5, nullptr}}},
        {{1, 1, 2, 1}, {1, 1, 3, 1}, {1, 1, 3, 1}, {1}});
    c.whole = {{3, DType::kI64}};
    return forward(c, DType::kF64, {{0, 0}, {1, 1, 1}, {2, 4, 9}, {length}})[0];
  };
  EXPECT_EQ(y(false, 2), (Numbers{3, 3}));
  EXPECT_EQ(y(false, 3), (Numbers{5, 5}));
  EXPECT_EQ(y(true, 2), (Numbers{2, 3}));
  EXPECT_EQ(y(true, 3), (Numbers{3, 5}));
  EXPECT_EQ(y(true, 1), (Numbers{0, 2}));
}

TEST(Attention, AMaskMayEndBeforeTheKeys) {
  Case c = onnx_case({"Attention", 24}, {{1, 1, 1, 1}, {1, 1, 3, 1}, {1, 1, 3, 1}, {1, 2}});
  EXPECT_EQ(forward(c, DType::kF64, {{0}, {1, 1, 1}, {2, 4, 9}, {0, 0}})[0], (Numbers{3}));
}

TEST(Attention, ShowsItsScores) {
  const auto shown = [](int64_t mode) {
    OnnxNode n{"Attention",
               23,
               {{"qk_matmul_output_mode", mode}, {"softcap", 2.0}, {"scale", 1.0}},
               {{3, floats({0, -INFINITY}, {1, 2})}}};
    n.outputs = 4;
    return forward(onnx_case(n, {{1, 1, 1, 1}, {1, 1, 2, 1}, {1, 1, 2, 1}}), DType::kF64,
                   {{1}, {3, 1}, {5, 7}})[3];
  };
  EXPECT_EQ(shown(0), (Numbers{3, 1}));
  EXPECT_NEAR(shown(1)[1], 2 * std::tanh(0.5), 1e-15);
  EXPECT_NEAR(shown(2)[0], 2 * std::tanh(1.5), 1e-15);
  EXPECT_EQ(shown(2)[1], -INFINITY);
  EXPECT_EQ(shown(3), (Numbers{1, 0}));
}

TEST(RotaryEmbedding, TurnsPairs) {
  for (const bool interleaved : {false, true}) {
    OnnxNode n{
        "RotaryEmbedding", 23, {{"interleaved", int64_t{interleaved}}, {"rotary_embedding_dim", int64_t{4}}}};
    Case c = onnx_case(n, {{1, 2, 2, 5}, {1, 2, 2}, {1, 2, 2}});
    c.expected = [=](const std::vector<Numbers>& v) {
      Numbers y = v[0];
      for (size_t head = 0; head < 2; ++head)
        for (size_t t = 0; t < 2; ++t)
          for (size_t k = 0; k < 2; ++k) {
            const size_t first = (head * 2 + t) * 5;
            const size_t a = first + (interleaved ? 2 * k : k);
            const size_t b = first + (interleaved ? 2 * k + 1 : k + 2);
            const double cosine = v[1][t * 2 + k];
            const double sine = v[2][t * 2 + k];
            y[a] = cosine * v[0][a] - sine * v[0][b];
            y[b] = sine * v[0][a] + cosine * v[0][b];
          }
      return std::vector<Numbers>{y};
    };
    c.y_roundings = 3;
    ASSERT_NO_FATAL_FAILURE(check(c)) << interleaved;
  }
}

TEST(RotaryEmbedding, PositionsChooseFromConstantTables) {
  OnnxNode n{"RotaryEmbedding", 23, {{"num_heads", int64_t{1}}}};
  n.known = {{1, floats({1, 0}, {2, 1})}, {2, floats({0, 1}, {2, 1})}, {3, ints({1, 0}, {1, 2})}};
  EXPECT_EQ(forward(onnx_case(n, {{1, 2, 2}}), DType::kF16, {{1, 2, 3, 4}})[0], (Numbers{-2, 1, 3, 4}));
  // Tables or positions that are computed give the same.
  OnnxNode computed = n;
  computed.known.erase(3);
  Case c = onnx_case(computed, {{1, 2, 2}, {1, 2}});
  c.whole = {{1, DType::kI64}};
  EXPECT_EQ(forward(c, DType::kF16, {{1, 2, 3, 4}, {1, 0}})[0], (Numbers{-2, 1, 3, 4}));
  EXPECT_NE(fault(c, {{1, 2, 3, 4}, {1, 2}}).find("index 2 is outside"), std::string::npos);
  EXPECT_NE(fault(c, {{1, 2, 3, 4}, {1, -1}}).find("index 2 is outside"), std::string::npos);
  OnnxNode tables = n;
  tables.known.erase(1);
  tables.known.erase(2);
  EXPECT_EQ(
      forward(onnx_case(tables, {{1, 2, 2}, {2, 1}, {2, 1}}), DType::kF16, {{1, 2, 3, 4}, {1, 0}, {0, 1}})[0],
      (Numbers{-2, 1, 3, 4}));
  n.known[3] = ints({1, 2}, {1, 2});
  EXPECT_NE(refusal(n, {{1, 2, 2}}).find("a position is 2"), std::string::npos);
  n.known.erase(3);
  EXPECT_NE(refusal(n, {{1, 2, 2}}).find("the table (input 1) is 2x1"), std::string::npos);
  n.attributes.set("num_heads", int64_t{3});
  EXPECT_NE(refusal(n, {{1, 2, 2}}).find("num_heads is 3"), std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
