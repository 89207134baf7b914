// Reshape and what only renames dimensions: Flatten, Squeeze, Unsqueeze, Identity.
#include <gtest/gtest.h>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// A node between two others, so that neither side is the program's input or output.
Case between(const OnnxNode& node, const Shape& x) {
  Case c;
  c.inputs = {x};
  c.build = [node](Builder& b, const std::vector<ValueId>& in) {
    const ValueId doubled = b.add1("Scale", {in[0]}, {{"alpha", 2.0}, {"beta", 0.0}});
    return std::vector<ValueId>{b.add1("Neg", {import(b, node, {doubled})[0]})};
  };
  c.expected = [](const std::vector<Numbers>& values) {
    return std::vector<Numbers>{map(values[0], [](double v) { return -2 * v; })};
  };
  c.nonzero = 1;
  c.roundings = 0;  // doubling is exact
  return c;
}

Shape shape_of(const OnnxNode& node, const Shape& x) {
  return imported_shapes(node, {x}).at(0);
}
OnnxNode reshape(const Ints& shape, Attributes attributes = {}, int opset = 14) {
  return {"Reshape", opset, std::move(attributes), {{1, ints(shape)}}};
}
OnnxNode axes11(const std::string& op, const Ints& axes) {
  return {op, 11, {{"axes", axes}}};
}
OnnxNode axes13(const std::string& op, const Ints& axes) {
  return {op, 13, {}, {{1, ints(axes)}}};
}
void says(const std::string& text, const OnnxNode& node, const std::vector<Shape>& x = {{2, 3}}) {
  const std::string message = refusal(node, x);
  EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' does not say '" << text << "'";
}

TEST(Reshape, ForwardAndGradient) {
  check(between(reshape({3, 2}), {2, 3}));
  check(between(reshape({-1}), {2, 3, 4}));
  check(between({"Flatten", 13}, {2, 3, 4}));
  check(between(axes13("Squeeze", {1}), {2, 1, 3}));
  check(between(axes13("Unsqueeze", {0, 3}), {2, 3}));
  check(between({"Identity", 14}, {2, 3}));
}

TEST(Reshape, ARepeatedInputGetsBothGradients) {
  Case c = between(reshape({3, 2}), {2, 3});
  c.expected = nullptr;
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0], import(b, reshape({6}), x)[0], build(b, x)[0]};
  };
  c.roundings = 3;
  check(c);
}

TEST(Reshape, ZeroCopiesAndMinusOneTakesTheRest) {
  EXPECT_EQ(shape_of(reshape({0, -1}), {2, 3, 4}), (Shape{2, 12}));
  EXPECT_EQ(shape_of(reshape({-1, 0, 2}), {2, 3, 4}), (Shape{4, 3, 2}));
  EXPECT_EQ(shape_of(reshape({-1, 24}, {}, 5), {2, 3, 4}), (Shape{1, 24}));
  EXPECT_EQ(shape_of(reshape({}), {1, 1}), Shape{});
  EXPECT_EQ(shape_of(reshape({0, 5}, {{"allowzero", int64_t{1}}}), {0, 3}), (Shape{0, 5}));
}

TEST(Reshape, RefusesWhatDoesNotFit) {
  says("cannot reshape 2x3 to 4: 6 against 4 elements", reshape({4}));
  says("its 6 elements are not a multiple of 4", reshape({4, -1}));
  says("more than one -1", reshape({-1, -1}));
  says("dimension 0 of the shape is -2", reshape({-2, 3}));
  says("dimension 2 of the shape is 0 (copy)", reshape({2, 3, 0}));
  says("cannot reshape 2x3 to 0x6", reshape({0, 6}, {{"allowzero", int64_t{1}}}));
  says("dimension 1 of the shape is 9223372036854775807", reshape({3, INT64_MAX}));
  says("input 1 must be a constant", {"Reshape", 14}, {{2, 3}, {2}});
  says("'allowzero'", reshape({6}, {{"allowzero", int64_t{1}}}, 13));
  says("'shape'", reshape({6}, {{"shape", Ints{6}}}));
}

TEST(Flatten, SplitsTheShapeInTwo) {
  const auto flat = [](int64_t axis) { return shape_of({"Flatten", 11, {{"axis", axis}}}, {2, 3, 4}); };
  EXPECT_EQ(shape_of({"Flatten", 9}, {2, 3, 4}), (Shape{2, 12}));
  EXPECT_EQ(flat(0), (Shape{1, 24}));
  EXPECT_EQ(flat(2), (Shape{6, 4}));
  EXPECT_EQ(flat(3), (Shape{24, 1}));
  EXPECT_EQ(flat(-1), (Shape{6, 4}));
  EXPECT_EQ(flat(-3), (Shape{1, 24}));
  says("axis 3 is outside [-2, 2]", {"Flatten", 13, {{"axis", int64_t{3}}}});
  says("axis -3 is outside [-2, 2]", {"Flatten", 13, {{"axis", int64_t{-3}}}});
  says("'axes'", {"Flatten", 13, {{"axes", Ints{1}}}});
}

TEST(Squeeze, TakesAxesFromWhereTheOpsetHasThem) {
  const Shape x{1, 3, 1, 2, 1};
  EXPECT_EQ(shape_of(axes11("Squeeze", {0, 2}), x), (Shape{3, 2, 1}));
  EXPECT_EQ(shape_of(axes11("Squeeze", {-1}), x), (Shape{1, 3, 1, 2}));
  EXPECT_EQ(shape_of(axes13("Squeeze", {2, -5}), x), (Shape{3, 2, 1}));
  for (const int opset : {9, 11, 13, 23}) EXPECT_EQ(shape_of({"Squeeze", opset}, x), (Shape{3, 2}));
}

TEST(Squeeze, RefusesWhatDoesNotFit) {
  says("axis 1 of 2x3 cannot be squeezed", axes13("Squeeze", {1}));
  says("axis 0 of 2x3 cannot be squeezed", axes11("Squeeze", {-2}));
  says("axis 2", axes13("Squeeze", {2}));
  says("'axes'", {"Squeeze", 13, {{"axes", Ints{0}}}}, {{1, 3}});  // an input since 13
  says("input 1 must be a constant", {"Squeeze", 13}, {{1, 3}, {1}});
}

TEST(Unsqueeze, TakesAxesFromWhereTheOpsetHasThem) {
  const Shape x{2, 3};
  EXPECT_EQ(shape_of(axes11("Unsqueeze", {0, 2}), x), (Shape{1, 2, 1, 3}));
  EXPECT_EQ(shape_of(axes13("Unsqueeze", {2, 0}), x), (Shape{1, 2, 1, 3}));
  EXPECT_EQ(shape_of(axes13("Unsqueeze", {-1}), x), (Shape{2, 3, 1}));
  EXPECT_EQ(shape_of(axes13("Unsqueeze", {-1, 0, -2}), x), (Shape{1, 2, 3, 1, 1}));
  EXPECT_EQ(shape_of(axes13("Unsqueeze", {0}), {}), (Shape{1}));
}

TEST(Unsqueeze, RefusesWhatDoesNotFit) {
  says("axis 3", axes13("Unsqueeze", {3}));
  says("axis -4", axes13("Unsqueeze", {-4}));
  says("an axis is named twice", axes13("Unsqueeze", {0, -4}));
  says("axes are missing", {"Unsqueeze", 13});
  says("axes are missing", {"Unsqueeze", 11});
  says("'axes'", {"Unsqueeze", 13, {{"axes", Ints{0}}}, {{1, ints({0})}}});
}

TEST(Identity, IsItsInput) {
  EXPECT_TRUE(imported_ops({"Identity", 16}, {{2, 3}}).empty());
  says("'axis'", {"Identity", 16, {{"axis", int64_t{0}}}});
}

TEST(Reshape, FoldsConstants) {
  EXPECT_EQ(folded_text("Reshape", 14, {ints({1, 2, 3, 4}), ints({2, -1})}), "1 2 3 4 (int64 2x2)");
  EXPECT_EQ(folded_text("Unsqueeze", 11, {ints({7}, Shape{})}, {{"axes", Ints{0}}}), "7 (int64 1)");
  EXPECT_EQ(folded_text("Squeeze", 13, {ints({7}, {1, 1}), ints({0})}), "7 (int64 1)");
  EXPECT_EQ(folded_text("Flatten", 13, {ints({1, 2})}), "1 2 (int64 2x1)");
  EXPECT_EQ(folded_text("Identity", 13, {ints({1, 2})}), "1 2 (int64 2)");
  EXPECT_NE(folded_text("Reshape", 14, {ints({1, 2, 3}), ints({2})}).find("cannot reshape 3 to 2"),
            std::string::npos);
  EXPECT_NE(folded_text("Reshape", 14, {ints({1, 2, 3})}).find("input 1 is missing"), std::string::npos);
  for (const char* op : {"Reshape", "Squeeze", "Unsqueeze"})
    EXPECT_NE(
        folded_text(op, 14, {ints({1}), floats({0.0}, {1})}).find("input 1 must be of integers, got fp32"),
        std::string::npos)
        << op;
  EXPECT_NE(folded_text("Squeeze", 13, {ints({7}, {1, 1})}, {{"axes", Ints{0}}}).find("'axes'"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
