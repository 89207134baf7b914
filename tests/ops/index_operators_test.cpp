// OneHot, Tile, Trilu, CumSum, ArgMax, ArgMin, TopK, Compress, NonZero, Unique, EyeLike.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void says(const OnnxNode& node, const std::vector<Shape>& x, const std::string& text) {
  EXPECT_NE(refusal(node, x).find(text), std::string::npos) << refusal(node, x);
}

TEST(OneHot, ForwardAndGradientOfItsValues) {
  for (const int64_t axis : {-1, 0, 1}) {
    Case c = onnx_case({"OneHot", 11, {{"axis", axis}}, {{1, ints({4}, Shape{})}}}, {{2, 3}, {2}});
    c.whole = {{0, DType::kI64}};
    c.fixed = {0};
    c.low = -5;  // from the end, and one outside
    c.high = 5;
    c.expected = [=](const std::vector<Numbers>& v) {
      Numbers y(24);
      for (int64_t i = 0; i < 6; ++i)
        for (int64_t d = 0; d < 4; ++d) {
          const auto index = static_cast<int64_t>(v[0][static_cast<size_t>(i)]);
          const int64_t to = axis == 0 ? d * 6 + i : axis == 1 ? i / 3 * 12 + d * 3 + i % 3 : i * 4 + d;
          y[static_cast<size_t>(to)] = v[1][(index < 0 ? index + 4 : index) == d ? 1 : 0];
        }
      return std::vector<Numbers>{y};
    };
    c.nonzero = 1;
    c.roundings = 3;
    check(c);
  }
  EXPECT_EQ(folded_text("OneHot", 11, {ints({1, -1, 5}), ints({3}, Shape{}), floats({0, 2}, {2})}),
            "0 2 0 0 0 2 0 0 0 (fp32 3x3)");
  EXPECT_EQ(
      folded_text("OneHot", 11, {ints({0, 1}), ints({2}, Shape{}), ints({5, 6})}, {{"axis", int64_t{0}}}),
      "6 5 5 6 (int64 2x2)");
  says({"OneHot", 11, {}, {{1, ints({3}, Shape{})}}}, {{2}, {3}},
       "values must be [off, on], got the shape 3");
  says({"OneHot", 11, {}, {{1, ints({int64_t{1} << 26}, Shape{})}}}, {{2}, {2}},
       "depth is 67108864, expected 1 to");
  says({"OneHot", 11}, {{2}, {1}, {2}}, "depth must be one number that is known when loading");
}

TEST(Tile, ForwardAndGradient) {
  const auto make = [](const Shape& x, const Ints& repeats) {
    Case c = onnx_case({"Tile", 13, {}, {{1, ints(repeats)}}}, {x});
    c.expected = [=](const std::vector<Numbers>& v) {
      Shape y = x;
      for (size_t i = 0; i < y.size(); ++i) y[i] *= repeats[i];
      Numbers out;
      for (int64_t i = 0; i < elements(y); ++i) {
        int64_t rest = i;
        int64_t from = 0;
        int64_t stride = 1;
        for (size_t axis = y.size(); axis-- > 0;) {
          from += rest % y[axis] % x[axis] * stride;
          rest /= y[axis];
          stride *= x[axis];
        }
        out.push_back(v[0][static_cast<size_t>(from)]);
      }
      return std::vector<Numbers>{out};
    };
    c.nonzero = 1;
    c.roundings = 1;
    return c;
  };
  check(make({2, 3}, {2, 1}));
  check(make({2, 3}, {3, 2}));
  check(make({1, 4, 1}, {2, 1, 3}));
  EXPECT_TRUE(imported_ops({"Tile", 13, {}, {{1, ints({1, 1})}}}, {{2, 3}}).empty());
  says({"Tile", 13, {}, {{1, ints({2})}}}, {{2, 3}}, "1 repeats for 2 axes");
  says({"Tile", 13, {}, {{1, ints({2, -1})}}}, {{2, 3}}, "repeated -1 times");
  says({"Tile", 13}, {{2}, {1}}, "input 1 must be a constant");
}

TEST(Trilu, ForwardAndGradient) {
  for (const int64_t upper : {0, 1})
    for (const int64_t k : {-1, 0, 2}) {
      Case c = onnx_case({"Trilu", 14, {{"upper", upper}}, {{1, ints({k}, Shape{})}}}, {{2, 3, 4}});
      c.expected = [=](const std::vector<Numbers>& v) {
        Numbers y = v[0];
        for (int64_t i = 0; i < 24; ++i) {
          const int64_t diagonal = i % 4 - i / 4 % 3;
          if (upper != 0 ? diagonal < k : diagonal > k) y[static_cast<size_t>(i)] = 0;
        }
        return std::vector<Numbers>{y};
      };
      c.nonzero = 0.2;
      c.roundings = 1;
      check(c);
    }
  says({"Trilu", 14}, {{4}}, "a matrix was expected, got 4");
}

TEST(CumSum, ForwardAndGradient) {
  for (const int64_t axis : {0, 1, 2})
    for (const int64_t exclusive : {0, 1})
      for (const int64_t reverse : {0, 1}) {
        const Shape x{2, 5, 3};
        Case c = onnx_case(
            {"CumSum", 14, {{"exclusive", exclusive}, {"reverse", reverse}}, {{1, ints({axis}, Shape{})}}},
            {x});
        c.expected = [=](const std::vector<Numbers>& v) {
          Numbers y(30);
          const int64_t n = x[static_cast<size_t>(axis)];
          const int64_t stride = strides_of(x)[static_cast<size_t>(axis)];
          for (int64_t i = 0; i < 30; ++i)
            for (int64_t j = 0; j < n; ++j) {
              const int64_t at = i / stride % n;
              const bool counts = reverse != 0 ? j > at : j < at;
              if (counts || (exclusive == 0 && j == at))
                y[static_cast<size_t>(i)] += v[0][static_cast<size_t>(i + (j - at) * stride)];
            }
          return std::vector<Numbers>{y};
        };
        c.roundings = 1;
        check(c);
      }
}

TEST(CumSum, ManyColumnsThreadsAndIntegers) {
  Case c = onnx_case({"CumSum", 14, {}, {{1, ints({1})}}}, {{3, 50, 1000}});
  c.whole = {{0, DType::kI64}};
  c.low = -1000;
  c.high = 1000;
  const std::vector<Numbers> x = random_inputs(c, DType::kF32);
  Numbers expected = x[0];
  for (size_t i = 0; i < expected.size(); ++i)
    if (i / 1000 % 50 != 0) expected[i] += expected[i - 1000];
  EXPECT_EQ(forward(c, DType::kF32, x, 3)[0], expected);
  Case small = onnx_case({"CumSum", 14, {}, {{1, ints({0})}}}, {{3}});
  small.whole = {{0, DType::kI32}};
  EXPECT_NE(fault(small, {{2147483647, 0, 1}}).find("the sum up to element [2] of 3 does not fit int32"),
            std::string::npos)
      << fault(small, {{2147483647, 0, 1}});
  EXPECT_EQ(folded_text("CumSum", 11, {ints({1, 2, 3}), ints({0}, Shape{})}, {{"reverse", int64_t{1}}}),
            "6 5 3 (int64 3)");
  EXPECT_EQ(folded_text("CumSum", 11, {floats({1, 2, 3, 4}, {2, 2}), ints({1})}, {{"exclusive", int64_t{1}}}),
            "0 1 0 3 (fp32 2x2)");
  says({"CumSum", 14, {}, {{1, ints({2})}}}, {{2, 3}}, "axis 2");
  says({"CumSum", 14}, {{2}, {1}}, "input 1 must be a constant");
}

TEST(ArgExtreme, IndicesOfTheFirstOrLast) {
  const Numbers x{1, 5, 3, 5, 2, 2, 0, 2, -1, -1, -4, -4};
  const auto of = [&](const std::string& op, Attributes attributes, const Shape& shape) {
    std::vector<Numbers> all;
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
      all.push_back(forward(onnx_case({op, 13, attributes}, {shape}), dtype, {x}, 3)[0]);
    for (const DType dtype : {DType::kI64, DType::kI32}) {
      Case c = onnx_case({op, 13, attributes}, {shape});
      c.whole = {{0, dtype}};
      all.push_back(forward(c, DType::kF32, {x}, 3)[0]);
    }
    for (const Numbers& y : all) EXPECT_EQ(y, all[0]);
    return all[0];
  };
  const auto last = [](int64_t axis) {
    return Attributes{{"axis", axis}, {"select_last_index", int64_t{1}}};
  };
  EXPECT_EQ(of("ArgMax", {{"axis", int64_t{1}}}, {3, 4}), (Numbers{1, 0, 0}));
  EXPECT_EQ(of("ArgMax", last(-1), {3, 4}), (Numbers{3, 3, 1}));
  EXPECT_EQ(of("ArgMin", {{"axis", int64_t{1}}}, {3, 4}), (Numbers{0, 2, 2}));
  EXPECT_EQ(of("ArgMin", last(1), {3, 4}), (Numbers{0, 2, 3}));
  EXPECT_EQ(of("ArgMax", {{"axis", int64_t{0}}}, {3, 4}), (Numbers{1, 0, 0, 0}));
  EXPECT_EQ(imported_shapes({"ArgMax", 13, {{"axis", int64_t{1}}}}, {{3, 4}}), (std::vector<Shape>{{3, 1}}));
  EXPECT_EQ(imported_shapes({"ArgMax", 13, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}}, {{3, 4}}),
            (std::vector<Shape>{{3}}));
  EXPECT_EQ(forward(onnx_case({"ArgMax", 13}, {{4}}), DType::kF16, {{1, kNan, 9, kNan}})[0], Numbers{1});
  EXPECT_EQ(forward(onnx_case({"ArgMin", 13}, {{4}}), DType::kF16, {{1, kNan, 9, kNan}})[0], Numbers{1});
  EXPECT_EQ(folded_text("ArgMax", 13, {floats(x, {3, 4})}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}),
            "1 0 0 (int64 3)");
}

TEST(TopK, ForwardAndGradient) {
  for (const int64_t axis : {0, 1})
    for (const int64_t largest : {0, 1}) {
      const Shape x{5, 6};
      const int64_t k = 3;
      Case c = onnx_case({"TopK", 11, {{"axis", axis}, {"largest", largest}}, {{1, ints({k})}}}, {x});
      c.build = [build = c.build](Builder& b, const std::vector<ValueId>& v) {
        return std::vector<ValueId>{build(b, v)[0]};
      };
      c.distinct = true;
      c.expected = [=](const std::vector<Numbers>& v) {
        const int64_t n = x[static_cast<size_t>(axis)];
        const int64_t stride = axis == 0 ? 6 : 1;
        const int64_t lines = axis == 0 ? 6 : 5;
        Numbers y(static_cast<size_t>(k * lines));
        for (int64_t line = 0; line < lines; ++line) {
          Numbers list;
          for (int64_t i = 0; i < n; ++i)
            list.push_back(v[0][static_cast<size_t>(axis == 0 ? i * 6 + line : line * 6 + i)]);
          std::sort(list.begin(), list.end());
          if (largest != 0) std::reverse(list.begin(), list.end());
          for (int64_t j = 0; j < k; ++j)
            y[static_cast<size_t>(axis == 0 ? j * stride + line : line * k + j)] =
                list[static_cast<size_t>(j)];
        }
        return std::vector<Numbers>{y};
      };
      c.nonzero = 0.4;
      c.roundings = 1;
      check(c);
    }
}

TEST(TopK, IndicesEqualsAndNan) {
  const auto of = [](const OnnxNode& node, const Numbers& x) {
    return forward(onnx_case(node, {{static_cast<int64_t>(x.size())}}), DType::kF16, {x});
  };
  OnnxNode node{"TopK", 11, {}, {{1, ints({4})}}, 2};
  EXPECT_EQ(of(node, {1, 3, 2, 3, 1}), (std::vector<Numbers>{{3, 3, 2, 1}, {1, 3, 2, 0}}));
  // A NaN equals nothing: the indices alone.
  const auto places = [&](const Numbers& x) {
    Case c = onnx_case(node, {{static_cast<int64_t>(x.size())}});
    c.build = [build = c.build](Builder& b, const std::vector<ValueId>& v) {
      return std::vector<ValueId>{build(b, v)[1]};
    };
    return forward(c, DType::kF16, {x})[0];
  };
  EXPECT_EQ(places({1, kNan, 2, 3, 1}), (Numbers{1, 3, 2, 0}));
  node.attributes.set("largest", int64_t{0});
  EXPECT_EQ(of(node, {1, 3, 2, 3, 1}), (std::vector<Numbers>{{1, 1, 2, 3}, {0, 4, 2, 1}}));
  EXPECT_EQ(places({1, kNan, 2, 3, 1}), (Numbers{0, 4, 2, 3}));
  // All of many, on several threads.
  Case c = onnx_case({"TopK", 11, {}, {{1, ints({300})}}, 2}, {{200, 300}});
  const std::vector<Numbers> x = random_inputs(c, DType::kF16);
  const std::vector<Numbers> y = forward(c, DType::kF16, x, 3);
  for (size_t row = 0; row < 200; ++row)
    for (size_t j = 1; j < 300; ++j) ASSERT_LE(y[0][row * 300 + j], y[0][row * 300 + j - 1]);
  says({"TopK", 11, {}, {{1, ints({7})}}}, {{6}}, "the 7 largest of axis 0 of 6");
  says({"TopK", 11}, {{6}, {1}}, "input 1 must be a constant");
}

TEST(Compress, ByAKnownConditionIsAGather) {
  Case c =
      onnx_case({"Compress", 11, {{"axis", int64_t{1}}}, {{1, ints({0, 1, 1, 0, 1}, DType::kU8)}}}, {{2, 6}});
  c.expected = [](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{{v[0][1], v[0][2], v[0][4], v[0][7], v[0][8], v[0][10]}};
  };
  c.roundings = 1;
  check(c);
  EXPECT_EQ(imported_shapes({"Compress", 11, {}, {{1, ints({0, 1, 1}, DType::kU8)}}}, {{2, 6}}),
            (std::vector<Shape>{{2}}));
  says({"Compress", 11}, {{2, 6}, {12}}, "its condition depends on the samples");
  says({"Compress", 11, {}, {{1, ints(Ints(13, 1), DType::kU8)}}}, {{2, 6}},
       "at most 12 booleans, got uint8 13");
  EXPECT_EQ(folded_text("Compress", 11, {ints({1, 2, 3, 4, 5, 6}, {3, 2}), ints({0, 1, 1}, DType::kU8)},
                        {{"axis", int64_t{0}}}),
            "3 4 5 6 (int64 2x2)");
  EXPECT_EQ(folded_text("Compress", 11, {ints({1, 2, 3, 4}, {2, 2}), ints({0, 1, 1}, DType::kU8)}),
            "2 3 (int64 2)");
}

TEST(Selection, WholeNumbersBeyondADouble) {
  const int64_t big = int64_t{1} << 53;
  EXPECT_EQ(folded_text("Unique", 11, {ints({big + 1, big, big + 1})}),
            "9007199254740992 9007199254740993 (int64 2)");
  EXPECT_EQ(folded_text("ArgMax", 13, {ints({big, big + 1})}), "1 (int64 1)");
  const auto range = [](int64_t from, int64_t to, int64_t step) {
    return folded_text("Range", 11, {ints({from}, Shape{}), ints({to}, Shape{}), ints({step}, Shape{})});
  };
  EXPECT_EQ(range(big, big + 3, 2), "9007199254740992 9007199254740994 (int64 2)");
  EXPECT_EQ(range(big, big + 3, 1), "9007199254740992 9007199254740993 9007199254740994 (int64 3)");
  EXPECT_EQ(range(5, 0, -2), "5 3 1 (int64 3)");
  EXPECT_EQ(range(5, 0, 2), "(int64 0)");
  EXPECT_NE(range(-big * 1023, big * 1023, 1).find("overflows 64 bits"), std::string::npos);
}

TEST(Selection, FoldsOrRefuses) {
  EXPECT_EQ(folded_text("NonZero", 13, {ints({1, 0, 1, 1}, {2, 2})}), "0 1 1 0 0 1 (int64 2x3)");
  EXPECT_EQ(folded_text("NonZero", 13, {ints({5}, Shape{})}), "0 (int64 1x1)");
  says({"NonZero", 13}, {{3}}, "its input depends on the samples or on trained tensors");
  const TensorPtr x = floats({2, 1, 1, 3, 4, 3}, {6});
  EXPECT_EQ(folded_text("Unique", 11, {x}), "1 2 3 4 (fp32 4)");
  EXPECT_EQ(folded_text("Unique", 11, {x}, {{"sorted", int64_t{0}}}), "2 1 3 4 (fp32 4)");
  const std::vector<Tensor> all = fold("Unique", 11, {x}, {}, 4);
  EXPECT_EQ(to_int64s(all[1]), (Ints{1, 0, 3, 4}));
  EXPECT_EQ(to_int64s(all[2]), (Ints{1, 0, 0, 2, 3, 2}));
  EXPECT_EQ(to_int64s(all[3]), (Ints{2, 1, 2, 1}));
  says({"Unique", 11}, {{3}}, "depends on the samples");
  says({"Range", 11, {}, {{1, ints({3}, Shape{})}, {2, ints({1}, Shape{})}}}, {{}}, "depends on the samples");
}

TEST(EyeLike, IsAConstant) {
  EXPECT_EQ(folded_text("EyeLike", 9, {ints({0, 0, 0, 0, 0, 0}, {2, 3})}), "1 0 0 0 1 0 (int64 2x3)");
  EXPECT_EQ(folded_text("EyeLike", 9, {ints({0, 0, 0, 0, 0, 0}, {2, 3})},
                        {{"k", int64_t{1}}, {"dtype", int64_t{1}}}),
            "0 1 0 0 0 1 (fp32 2x3)");
  ir::Graph graph;
  Builder b(graph, DType::kF16);
  ir::Value x;
  x.kind = ir::ValueKind::kInput;
  x.type = {DType::kF16, {2, 2}};
  const ValueId y = import(b, {"EyeLike", 22}, {graph.add_value(x)})[0];
  ASSERT_EQ(graph.value(y).kind, ir::ValueKind::kConstant);
  EXPECT_EQ(graph.value(y).type, (Type{DType::kF16, {2, 2}}));
  says({"EyeLike", 22}, {{3}}, "a matrix was expected, got 3");
}

}  // namespace
}  // namespace halftone::ops::test
