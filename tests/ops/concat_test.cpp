// Concat and Split, each other's gradients.
#include <gtest/gtest.h>

#include "base/error.h"
#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// x's part [first, first + size) along the axis.
Numbers part(const Numbers& x, const Shape& shape, size_t axis, int64_t first, int64_t size) {
  const int64_t inner = strides_of(shape)[axis];
  Numbers y;
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t index = static_cast<int64_t>(i) / inner % shape[axis];
    if (index >= first && index < first + size) y.push_back(x[i]);
  }
  return y;
}

Case concat(const std::vector<Shape>& inputs, int64_t axis, int opset = 13) {
  Case c = onnx_case({"Concat", opset, {{"axis", axis}}}, inputs);
  const auto at = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(inputs[0].size()) : axis);
  c.expected = [=](const std::vector<Numbers>& x) {
    const int64_t inner = strides_of(inputs[0])[at];
    int64_t outer = 1;
    for (size_t i = 0; i < at; ++i) outer *= inputs[0][i];
    Numbers y;
    for (int64_t o = 0; o < outer; ++o)
      for (size_t k = 0; k < x.size(); ++k) {
        const int64_t run = inputs[k][at] * inner;
        y.insert(y.end(), x[k].begin() + o * run, x[k].begin() + (o + 1) * run);
      }
    return std::vector<Numbers>{y};
  };
  c.nonzero = 1;
  c.roundings = 0;  // nothing but copies
  return c;
}

Case split(const OnnxNode& node, const Shape& x, size_t axis, const Ints& sizes) {
  OnnxNode n = node;
  n.outputs = sizes.size();
  Case c = onnx_case(n, {x});
  c.expected = [=](const std::vector<Numbers>& values) {
    std::vector<Numbers> y;
    int64_t first = 0;
    for (const int64_t size : sizes) {
      y.push_back(part(values[0], x, axis, first, size));
      first += size;
    }
    return y;
  };
  c.nonzero = 1;
  c.roundings = 0;
  return c;
}

TEST(Concat, ForwardAndGradient) {
  check(concat({{2, 3}, {1, 3}, {4, 3}}, 0));
  check(concat({{2, 3}, {2, 1}, {2, 4}}, 1));
  check(concat({{2, 1, 3}, {2, 2, 3}}, -2, 11));
  check(concat({{2, 2, 1, 1}, {2, 2, 1, 3}}, 3, 4));
  check(concat({{3}, {0}, {2}}, 0));  // an empty one in between
}

TEST(Concat, ARepeatedInputGetsBothGradients) {
  Case c = concat({{2, 3}, {2, 3}}, 1);
  c.inputs = {{2, 3}};
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) { return build(b, {x[0], x[0]}); };
  c.expected = nullptr;
  c.roundings = 1;
  check(c);
}

TEST(Concat, AnInputThatNeedsNoGradientGetsNone) {
  Case c = concat({{2, 3}, {2, 1}, {2, 2}}, 1);
  c.fixed = {1};
  check(c);
}

TEST(Concat, ManyElementsAndThreads) {
  const Case c = concat({{3, 20000}, {3, 7}, {3, 9000}}, 1);
  const std::vector<Numbers> x = random_inputs(c, DType::kF16);
  EXPECT_EQ(forward(c, DType::kF16, x, 3), c.expected(x));
}

TEST(Concat, OfOneInputIsThatInput) {
  EXPECT_TRUE(imported_ops({"Concat", 13, {{"axis", int64_t{0}}}}, {{2, 3}}).empty());
}

TEST(Concat, RefusesWhatDoesNotFit) {
  const OnnxNode node{"Concat", 13, {{"axis", int64_t{1}}}};
  EXPECT_NE(refusal(node, {{2, 3}, {3, 3}}).find("2x3 and 3x3 cannot be joined along axis 1"),
            std::string::npos);
  EXPECT_NE(refusal(node, {{2, 3}, {2, 3, 1}}).find("cannot be joined"), std::string::npos);
  EXPECT_NE(refusal(node, {{2}, {2}}).find("axis 1"), std::string::npos);
  EXPECT_NE(refusal({"Concat", 13, {{"axis", int64_t{-3}}}}, {{2, 3}, {2, 3}}).find("axis -3"),
            std::string::npos);
  EXPECT_NE(refusal({"Concat", 13}, {{2, 3}, {2, 3}}).find("'axis' (int) is missing"), std::string::npos);
  EXPECT_NE(refusal({{DType::kF32, {2}}, {DType::kI64, {2}}}, "Concat", {{"axis", int64_t{0}}})
                .find("different types: fp32 and int64"),
            std::string::npos);
}

TEST(Concat, FoldsShapes) {
  EXPECT_EQ(folded_text("Concat", 13, {ints({1, 2}), ints({3})}, {{"axis", int64_t{0}}}), "1 2 3 (int64 3)");
  EXPECT_EQ(
      folded_text("Concat", 13, {ints({1, 2, 3, 4}, {2, 2}), ints({5, 6}, {2, 1})}, {{"axis", int64_t{-1}}}),
      "1 2 5 3 4 6 (int64 2x3)");
  EXPECT_NE(folded_text("Concat", 13, {ints({1}), number(2)}, {{"axis", int64_t{0}}}).find("different types"),
            std::string::npos);
  EXPECT_NE(
      folded_text("Concat", 13, {ints({1}), nullptr}, {{"axis", int64_t{0}}}).find("input 1 is missing"),
      std::string::npos);
}

TEST(Split, ForwardAndGradientInEveryForm) {
  const Shape x{2, 7, 3};
  const Ints sizes{2, 1, 4};
  check(split({"Split", 11, {{"axis", int64_t{1}}, {"split", sizes}}}, x, 1, sizes));
  check(split({"Split", 13, {{"axis", int64_t{-2}}}, {{1, ints(sizes)}}}, x, 1, sizes));
  check(split({"Split", 18, {{"axis", int64_t{1}}}, {{1, ints(sizes)}}}, x, 1, sizes));
  // Equal parts, along axis 0 by default.
  check(split({"Split", 9}, {6, 2}, 0, {2, 2, 2}));
  check(split({"Split", 13}, {6, 2}, 0, {3, 3}));
  // num_outputs: the last part may be smaller.
  check(split({"Split", 18, {{"axis", int64_t{1}}, {"num_outputs", int64_t{3}}}}, x, 1, {3, 3, 1}));
  check(split({"Split", 13, {}, {{1, ints({2, 0, 1})}}}, {3, 2}, 0, {2, 0, 1}));
}

TEST(Split, AnOutputThatNobodyReadsHasAGradientOfZero) {
  for (const size_t unread : {0U, 1U, 2U}) {
    Case c = split({"Split", 13, {{"axis", int64_t{1}}}, {{1, ints({2, 1, 2})}}}, {2, 5}, 1, {2, 1, 2});
    c.build = [unread, build = c.build](Builder& b, const std::vector<ValueId>& x) {
      std::vector<ValueId> y = build(b, x);
      y.erase(y.begin() + static_cast<std::ptrdiff_t>(unread));
      return y;
    };
    c.expected = nullptr;
    c.nonzero = 0.6;
    check(c);
    Numbers wanted(10, 1);
    for (const size_t column : unread == 0   ? std::vector<size_t>{0, 1}
                               : unread == 1 ? std::vector<size_t>{2}
                                             : std::vector<size_t>{3, 4})
      wanted[column] = wanted[5 + column] = 0;
    const size_t sizes[] = {4, 2, 4};
    std::vector<Numbers> dy;
    for (size_t k = 0; k < 3; ++k)
      if (k != unread) dy.emplace_back(sizes[k], 1);
    EXPECT_EQ(run(c, DType::kF32, random_inputs(c, DType::kF32), dy).dx[0], wanted);
  }
}

TEST(Split, IntoOnePartIsTheInput) {
  EXPECT_TRUE(imported_ops({"Split", 13}, {{2, 3}}).empty());
}

TEST(Split, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& text, OnnxNode n, size_t outputs, const Shape& x = {5, 2}) {
    n.outputs = outputs;
    const std::string message = refusal(n, {x});
    EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' does not say '" << text << "'";
  };
  says("add up to 4, axis 0 of 5x2 is 5", {"Split", 13, {}, {{1, ints({3, 1})}}}, 2);
  says("add up to 6", {"Split", 11, {{"split", Ints{3, 3}}}}, 2);
  says("has the size -1", {"Split", 13, {}, {{1, ints({6, -1})}}}, 2);
  says("3 parts, the node 2 outputs", {"Split", 13, {}, {{1, ints({3, 1, 1})}}}, 2);
  says("5 elements cannot be split into 2 equal parts", {"Split", 13}, 2);
  says("5 elements cannot be split into 4 parts", {"Split", 18, {{"num_outputs", int64_t{4}}}}, 4);
  says("num_outputs is 3, the node has 2 outputs", {"Split", 18, {{"num_outputs", int64_t{3}}}}, 2);
  says("'num_outputs' (int) is missing", {"Split", 18}, 2);
  says("axis 2", {"Split", 13, {{"axis", int64_t{2}}}}, 2);
  says("'split'", {"Split", 13, {{"split", Ints{3, 2}}}}, 2);              // an input since 13
  says("'num_outputs'", {"Split", 13, {{"num_outputs", int64_t{2}}}}, 2);  // known since 18
  OnnxNode computed{"Split", 13};
  computed.outputs = 2;
  EXPECT_NE(refusal(computed, {{5, 2}, {2}}).find("input 1 must be a constant"), std::string::npos);
}

TEST(Split, FoldsShapes) {
  const std::vector<Tensor> parts = fold("Split", 13, {ints({1, 2, 3, 4, 5}), ints({2, 3})}, {}, 2);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(to_int64s(parts[0]), (Ints{1, 2}));
  EXPECT_EQ(to_int64s(parts[1]), (Ints{3, 4, 5}));
  EXPECT_THROW(fold("Split", 13, {ints({1, 2, 3}), ints({2, 2})}, {}, 2), Error);
  EXPECT_THROW(fold("Split", 13, {ints({1, 2, 3}), ints({2, 0})}, {}, 2), Error);
}

}  // namespace
}  // namespace halftone::ops::test
