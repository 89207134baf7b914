// Gather, GatherElements and GatherND, by known indices and by such as come with the samples.
#include <gtest/gtest.h>

#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// x[outer][n][inner], indices m along the middle.
Numbers gathered(const Numbers& x, int64_t outer, int64_t n, int64_t inner, const Numbers& indices) {
  Numbers y;
  for (int64_t o = 0; o < outer; ++o)
    for (const double index : indices) {
      const auto i = static_cast<int64_t>(index) + (index < 0 ? n : 0);
      for (int64_t k = 0; k < inner; ++k) y.push_back(x[static_cast<size_t>((o * n + i) * inner + k)]);
    }
  return y;
}

Case with_known(const Shape& x, const Ints& indices, const Shape& shape, int64_t axis) {
  Case c = onnx_case({"Gather", 13, {{"axis", axis}}, {{1, ints(indices, shape)}}}, {x});
  const auto at = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(x.size()) : axis);
  const int64_t outer = elements(Shape(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(at)));
  const int64_t inner = strides_of(x)[at];
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{gathered(v[0], outer, x[at], inner, Numbers(indices.begin(), indices.end()))};
  };
  c.nonzero = 0;
  c.roundings = 1;  // the gradient is a sum in registers
  return c;
}

TEST(Gather, KnownIndices) {
  check(with_known({5, 4}, {1, 3, 3, -1, 0}, {5}, 0));
  check(with_known({5, 4}, {2, 2, 0, 1}, {2, 2}, 1));
  check(with_known({2, 5, 3}, {4, 0, 1, -5}, {4}, 1));
  check(with_known({2, 5, 33}, {4, 0, 4, 4, 4}, {5}, -2));  // longer rows than a vector
  check(with_known({3, 2}, {1}, {}, 1));                    // a class token
  check(with_known({6, 2}, {4, 2, 0}, {3}, 0));             // backwards
  check(with_known({6}, {5, 5, 5}, {3}, 0));
}

TEST(Gather, EqualDistancesAreASlice) {
  const auto ops = [](const Ints& indices, const Shape& shape) {
    return imported_ops({"Gather", 13, {{"axis", int64_t{1}}}, {{1, ints(indices, shape)}}}, {{2, 6, 3}});
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(ops({0}, {}), (Names{"Slice", "Reshape"}));
  EXPECT_EQ(ops({1, 3, 5}, {3}), (Names{"Slice"}));
  EXPECT_EQ(ops({5, 4}, {1, 2}), (Names{"Slice", "Reshape"}));
  EXPECT_EQ(ops({0, 1, 2, 3, 4, 5}, {6}), Names{});
  EXPECT_EQ(ops({2, 2}, {2}), (Names{"GatherRows"}));
  EXPECT_EQ(ops({0, 1, 3}, {3}), (Names{"GatherRows"}));
}

TEST(Gather, IndicesOfTheSamples) {
  for (const DType dtype : {DType::kI64, DType::kI32})
    for (const int64_t axis : {0, 1}) {
      const Shape x{4, 5, 3};
      Case c = onnx_case({"Gather", 11, {{"axis", axis}}}, {x, {3, 2}});
      c.whole = {{1, dtype}};
      c.fixed = {1};
      c.low = -4;  // and from the end
      c.high = 4;
      c.expected = [=](const std::vector<Numbers>& v) {
        return std::vector<Numbers>{axis == 0 ? gathered(v[0], 1, 4, 15, v[1])
                                              : gathered(v[0], 4, 5, 3, v[1])};
      };
      c.nonzero = 0.2;
      c.roundings = 1;
      check(c);
    }
}

// Many rows for one: the sums are in registers, in the same order on any number of threads.
TEST(Gather, ATableOfWhichFewRowsOccur) {
  Case c = onnx_case({"Gather", 13}, {{1000, 70}, {3000}});
  c.whole = {{1, DType::kI64}};
  c.fixed = {1};
  std::vector<Numbers> x = random_inputs(c, DType::kF16);
  for (size_t i = 0; i < x[1].size(); ++i) x[1][i] = i % 3 == 0 ? 7 : static_cast<double>(i * i % 400);
  std::vector<Numbers> dy(1, Numbers(3000 * 70));
  for (size_t i = 0; i < dy[0].size(); ++i) dy[0][i] = static_cast<double>(i % 17) / 64 - 0.125;
  const Result one = run(c, DType::kF16, x, dy);
  const Result wide = run(c, DType::kF64, x, dy);
  for (const kern::Isa isa : isas(DType::kF16)) {
    const Result many = run(c, DType::kF16, x, dy, isa, 3);
    EXPECT_EQ(many.y, one.y) << kern::name_of(isa);
    EXPECT_EQ(many.dx, one.dx) << kern::name_of(isa);
  }
  size_t rows = 0;
  for (size_t r = 0; r < 1000; ++r) {
    bool any = false;
    for (size_t k = 0; k < 70; ++k) {
      const double exact = wide.dx[0][r * 70 + k];
      EXPECT_NEAR(one.dx[0][r * 70 + k], exact, 0x1p-11 * std::abs(exact) + 1000 * 0x1p-24) << r << " " << k;
      any = any || exact != 0;
    }
    rows += any ? 1 : 0;
  }
  EXPECT_GT(rows, 40U);
  EXPECT_LT(rows, 500U);
}

TEST(Gather, OfIntegersAndBooleans) {
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kU8}) {
    Case c = onnx_case({"Gather", 13}, {{3, 2}, {4}});
    c.whole = {{0, dtype}, {1, DType::kI64}};
    EXPECT_EQ(forward(c, DType::kF16, {{1, 0, 3, 4, 5, 6}, {2, 0, -1, 1}})[0],
              (Numbers{5, 6, 1, 0, 5, 6, 3, 4}));
  }
}

TEST(Gather, AnIndexOutsideStopsTheRun) {
  Case c = onnx_case({"Gather", 13, {{"axis", int64_t{1}}}}, {{2, 5}, {2, 3}});
  c.whole = {{1, DType::kI64}};
  const Numbers x(10, 1.0);
  EXPECT_EQ(fault(c, {x, {0, 4, -5, 1, 2, 3}}), "");
  const std::string text = fault(c, {x, {0, 4, -5, 1, 5, -6}});
  EXPECT_NE(
      text.find(
          "index 5 is outside [-5, 5), axis 1 of 'input0' (2x5); it stands at [1, 1] of 'input1' (2x3)"),
      std::string::npos)
      << text;
  EXPECT_NE(fault(c, {x, {0, -6, 9, 1, 5, -6}}).find("index -6"), std::string::npos);
  EXPECT_NE(fault(c, {x, {0, 1e18, 0, 1, 0, 0}}).find("index 1000000000000000000"), std::string::npos);
}

TEST(Gather, Refuses) {
  const auto says = [](const OnnxNode& node, const std::vector<Shape>& x, const std::string& text) {
    EXPECT_NE(refusal(node, x).find(text), std::string::npos) << refusal(node, x);
  };
  says({"Gather", 13, {}, {{1, ints({0, 3})}}}, {{3, 2}}, "index 3 is outside [-3, 3), axis 0");
  says({"Gather", 13, {{"axis", int64_t{2}}}, {{1, ints({0})}}}, {{3, 2}}, "axis 2");
  says({"Gather", 13, {{"batch_dims", int64_t{1}}}, {{1, ints({0})}}}, {{3, 2}}, "'batch_dims'");
  says({"Gather", 13}, {{3, 2}, {2}}, "indices must be int64 or int32, got fp32");
  says({"GatherElements", 13, {}, {{1, ints({0, 1})}}}, {{3, 2}}, "indices of shape 2 for a tensor 3x2");
  says({"GatherND", 13, {}, {{1, ints({0, 1, 1}, {1, 3})}}}, {{3, 2}},
       "indices of shape 1x3 for a tensor 3x2");
  says({"GatherND", 11, {{"batch_dims", int64_t{1}}}, {{1, ints({0}, {1, 1})}}}, {{3, 2}}, "'batch_dims'");
}

TEST(GatherElements, ForwardAndGradient) {
  for (const bool known : {true, false}) {
    const Shape x{3, 4, 2};
    const Shape at{3, 2, 2};
    const Ints indices{3, 0, 1, 1, 2, 2, -1, 0, 1, 2, 2, -4};
    OnnxNode node{"GatherElements", 13, {{"axis", int64_t{1}}}};
    if (known) node.known = {{1, ints(indices, at)}};
    Case c = onnx_case(node, known ? std::vector<Shape>{x} : std::vector<Shape>{x, at});
    if (!known) {
      c.whole = {{1, DType::kI32}};
      c.fixed = {1};
      c.low = -3;
      c.high = 3;
    }
    c.expected = [=](const std::vector<Numbers>& v) {
      std::vector<Numbers> y(1);
      for (int64_t i = 0; i < 12; ++i) {
        auto index = static_cast<int64_t>(known ? static_cast<double>(indices[static_cast<size_t>(i)])
                                                : v[1][static_cast<size_t>(i)]);
        if (index < 0) index += 4;
        y[0].push_back(v[0][static_cast<size_t>((i / 4 * 4 + index) * 2 + i % 2)]);
      }
      return y;
    };
    c.nonzero = 0.2;
    c.roundings = 1;
    check(c);
  }
}

TEST(GatherND, ForwardAndGradient) {
  {
    Case c = onnx_case({"GatherND", 13, {}, {{1, ints({0, 1, 1, -1, 0, 1}, {3, 2})}}}, {{2, 3, 4}});
    c.expected = [](const std::vector<Numbers>& v) {
      std::vector<Numbers> y(1);
      for (const size_t row : {1, 5, 1})
        for (size_t k = 0; k < 4; ++k) y[0].push_back(v[0][row * 4 + k]);
      return y;
    };
    c.nonzero = 0.3;
    c.roundings = 1;
    check(c);
  }
  Case c = onnx_case({"GatherND", 12, {{"batch_dims", int64_t{1}}}}, {{2, 3, 4}, {2, 2, 1}});
  c.whole = {{1, DType::kI64}};
  c.fixed = {1};
  c.expected = [](const std::vector<Numbers>& v) {
    std::vector<Numbers> y(1);
    for (size_t i = 0; i < 4; ++i) {
      const auto index = static_cast<size_t>(v[1][i] < 0 ? v[1][i] + 3 : v[1][i]);
      for (size_t k = 0; k < 4; ++k) y[0].push_back(v[0][(i / 2 * 3 + index) * 4 + k]);
    }
    return y;
  };
  c.nonzero = 0.3;
  c.roundings = 1;
  check(c);
  EXPECT_NE(fault(c, {Numbers(24, 1.0), {0, 1, 3, 2}}).find("index 3 is outside [-3, 3), axis 1"),
            std::string::npos);
}

TEST(Gather, FoldsConstants) {
  const TensorPtr x = ints({1, 2, 3, 4, 5, 6}, {2, 3});
  EXPECT_EQ(folded_text("GatherElements", 11, {x, ints({2, 0, -1, 1}, {2, 2})}, {{"axis", int64_t{1}}}),
            "3 1 6 5 (int64 2x2)");
  EXPECT_EQ(folded_text("GatherND", 12, {x, ints({1, 0, 0, 2}, {2, 2})}), "4 3 (int64 2)");
  EXPECT_EQ(folded_text("GatherND", 12, {x, ints({1, 0}, {2, 1})}, {{"batch_dims", int64_t{1}}}),
            "2 4 (int64 2)");
}

TEST(ReverseSequence, ForwardAndGradient) {
  for (const bool time_first : {false, true}) {
    const Attributes attributes{{"batch_axis", int64_t{time_first}}, {"time_axis", int64_t{!time_first}}};
    Case c =
        onnx_case({"ReverseSequence", 10, attributes}, {time_first ? Shape{3, 2, 2} : Shape{2, 3, 2}, {2}});
    c.whole = {{1, DType::kI64}};
    c.fixed = {1};
    c.low = 0;
    c.high = 3.9;
    c.roundings = 1;
    c.expected = [time_first](const std::vector<Numbers>& v) {
      Numbers y = v[0];
      for (size_t n = 0; n < 2; ++n)
        for (size_t t = 0; t < static_cast<size_t>(v[1][n]); ++t)
          for (size_t k = 0; k < 2; ++k) {
            const size_t from = static_cast<size_t>(v[1][n]) - 1 - t;
            const auto place = [&](size_t time) {
              return (time_first ? time * 2 + n : n * 3 + time) * 2 + k;
            };
            y[place(t)] = v[0][place(from)];
          }
      return std::vector<Numbers>{y};
    };
    check(c);
  }
}

TEST(ReverseSequence, LengthsOutsideTheAxis) {
  Case c = onnx_case({"ReverseSequence", 10}, {{3, 2}, {2}});
  c.whole = {{1, DType::kI64}};
  EXPECT_EQ(forward(c, DType::kF32, {{1, 2, 3, 4, 5, 6}, {3, 0}})[0], (Numbers{5, 2, 3, 4, 1, 6}));
  for (const double length : {4.0, -1.0})
    EXPECT_NE(fault(c, {{1, 2, 3, 4, 5, 6}, {3, length}}).find("index 3 is outside"), std::string::npos)
        << length;
  EXPECT_NE(refusal({"ReverseSequence", 10, {{"time_axis", int64_t{2}}}, {{1, ints({1, 1})}}}, {{3, 2, 2}})
                .find("0 and 1 were expected"),
            std::string::npos);
  EXPECT_NE(refusal({"ReverseSequence", 10, {}, {{1, ints({1})}}}, {{3, 2}})
                .find("an integer for each of 2 samples"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
