#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

// Which indices of each axis are taken, written out.
Numbers taken(const Numbers& x, const Shape& shape, const std::vector<Ints>& indices) {
  const Shape strides = strides_of(shape);
  std::vector<int64_t> offsets{0};
  for (size_t d = 0; d < shape.size(); ++d) {
    std::vector<int64_t> next;
    for (const int64_t offset : offsets)
      for (const int64_t i : indices[d]) next.push_back(offset + i * strides[d]);
    offsets = next;
  }
  Numbers y;
  for (const int64_t offset : offsets) y.push_back(x[static_cast<size_t>(offset)]);
  return y;
}

OnnxNode node(const Ints& starts, const Ints& ends, const Ints& axes, const Ints& steps, int opset = 13) {
  OnnxNode n{"Slice", opset, {}, {{1, ints(starts)}, {2, ints(ends)}}};
  if (!axes.empty() || !steps.empty()) n.known[3] = axes.empty() ? nullptr : ints(axes);
  if (!steps.empty()) n.known[4] = ints(steps);
  return n;
}

Case make(const OnnxNode& n, const Shape& x, const std::vector<Ints>& indices) {
  Case c = onnx_case(n, {x});
  c.expected = [=](const std::vector<Numbers>& values) {
    return std::vector<Numbers>{taken(values[0], x, indices)};
  };
  c.nonzero = 0.1;
  c.roundings = 0;  // nothing but copies
  return c;
}

TEST(Slice, ForwardAndGradient) {
  check(make(node({1}, {4}, {}, {}), {5, 2}, {{1, 2, 3}, {0, 1}}));
  check(make(node({1, 0}, {5, 3}, {0, 1}, {2, 1}), {6, 4}, {{1, 3}, {0, 1, 2}}));
  check(make(node({0}, {kMax}, {1}, {3}), {2, 8}, {{0, 1}, {0, 3, 6}}));
  check(make(node({-3}, {-1}, {-1}, {}), {2, 5}, {{0, 1}, {2, 3}}));
  check(make(node({2}, {3}, {2}, {}, 10), {2, 2, 4, 3}, {{0, 1}, {0, 1}, {2}, {0, 1, 2}}));
}

TEST(Slice, NegativeStepsRunBackwards) {
  check(make(node({-1}, {kMin}, {0}, {-1}), {4, 2}, {{3, 2, 1, 0}, {0, 1}}));
  check(make(node({4}, {0}, {1}, {-2}), {2, 5}, {{0, 1}, {4, 2}}));
  check(make(node({kMax, 0}, {-6, 3}, {1, 0}, {-3, 2}), {3, 5}, {{0, 2}, {4, 1}}));
  check(make(node({3, -1}, {1, -4}, {0, 2}, {-1, -1}), {4, 2, 3}, {{3, 2}, {0, 1}, {2, 1, 0}}));
}

TEST(Slice, BoundsAreClamped) {
  check(make(node({-100}, {100}, {0}, {}), {3, 2}, {{0, 1, 2}, {0, 1}}));
  check(make(node({1}, {100}, {0}, {5}), {3, 2}, {{1}, {0, 1}}));
  check(make(node({100}, {-100}, {0}, {-kMax}), {3, 2}, {{2}, {0, 1}}));
  // ONNX clamps a start before the first element to it, also for a negative step.
  check(make(node({-100}, {-101}, {0}, {-1}), {3, 2}, {{0}, {0, 1}}));
}

TEST(Slice, OpsetNineHasAttributes) {
  OnnxNode n{"Slice", 9, {{"starts", Ints{1, -2}}, {"ends", Ints{3, kMax}}, {"axes", Ints{1, 0}}}};
  check(make(n, {4, 3}, {{2, 3}, {1, 2}}));
  n.attributes = {{"starts", Ints{1}}, {"ends", Ints{2}}};
  check(make(n, {4, 3}, {{1}, {0, 1, 2}}));
}

TEST(Slice, ARepeatedInputGetsBothGradients) {
  Case c;
  c.inputs = {{3, 4}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    const ValueId front = import(b, node({0}, {3}, {1}, {}), x)[0];
    const ValueId back = import(b, node({-1}, {-4}, {1}, {-1}), x)[0];
    return std::vector<ValueId>{b.add1("Add", {front, back})};
  };
  c.nonzero = 1;
  check(c);
}

TEST(Slice, EverythingIsTheInputItself) {
  EXPECT_TRUE(imported_ops(node({0}, {kMax}, {1}, {}), {{2, 3}}).empty());
  EXPECT_FALSE(imported_ops(node({-1}, {kMin}, {1}, {-1}), {{2, 3}}).empty()) << "reversed";
}

TEST(Slice, CanBeEmpty) {
  EXPECT_EQ(imported_shapes(node({2}, {1}, {0}, {}), {{4, 3}}), (std::vector<Shape>{{0, 3}}));
  EXPECT_EQ(imported_shapes(node({1}, {2}, {0}, {-1}), {{4, 3}}), (std::vector<Shape>{{0, 3}}));
  EXPECT_EQ(imported_shapes(node({5}, {9}, {0}, {}), {{4, 3}}), (std::vector<Shape>{{0, 3}}));
}

TEST(Slice, ManyElementsAndThreads) {
  for (const auto& [n, indices] : std::vector<std::pair<OnnxNode, Ints>>{
           {node({1}, {kMax}, {0}, {2}), {1, 3, 5, 7}}, {node({-1}, {kMin}, {0}, {-3}), {7, 4, 1}}}) {
    Ints all(20000);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    const Case c = make(n, {8, 20000}, {indices, all});
    const std::vector<Numbers> x = random_inputs(c, DType::kBf16);
    ASSERT_EQ(forward(c, DType::kBf16, x, 3), c.expected(x));
  }
}

TEST(Slice, RefusesWhatItDoesNotUnderstand) {
  const auto says = [](const std::string& text, const OnnxNode& n) {
    const std::string message = refusal(n, {{4, 3}});
    EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' does not say '" << text << "'";
  };
  says("axis 2", node({0}, {1}, {2}, {}));
  says("axis 0 is named twice", node({0, 1}, {1, 2}, {0, -2}, {}));
  says("the step of axis 1 is 0", node({0}, {1}, {1}, {0}));
  says("the step of axis 1 is -9223372036854775808", node({0}, {1}, {1}, {kMin}));
  says("1 starts, 2 ends", node({0}, {1, 2}, {}, {}));
  says("1 starts, 1 ends, 2 axes", node({0}, {1}, {0, 1}, {}));
  says("axis 2", node({0, 0, 0}, {1, 1, 1}, {}, {}));  // more than there are
  says("starts or ends are missing", {"Slice", 13, {}, {{1, ints({0})}}});
  says("'starts'", {"Slice", 10, {{"starts", Ints{0}}}});
  says("'steps'", {"Slice", 9, {{"starts", Ints{0}}, {"ends", Ints{1}}, {"steps", Ints{2}}}});
  says("'ends' (ints) is missing", {"Slice", 9, {{"starts", Ints{0}}}});
  EXPECT_NE(refusal({"Slice", 13, {}, {{2, ints({1})}}}, {{4, 3}, {1}}).find("input 1 must be a constant"),
            std::string::npos);
}

TEST(Slice, FoldsShapes) {
  EXPECT_EQ(folded_text("Slice", 13, {ints({1, 2, 3, 4}), ints({-2}), ints({kMax})}), "3 4 (int64 2)");
  EXPECT_EQ(folded_text("Slice", 13, {ints({1, 2, 3, 4}), ints({-1}), ints({kMin}), ints({0}), ints({-1})}),
            "4 3 2 1 (int64 4)");
  EXPECT_EQ(folded_text("Slice", 9, {ints({1, 2, 3, 4})}, {{"starts", Ints{1}}, {"ends", Ints{-1}}}),
            "2 3 (int64 2)");
  EXPECT_NE(folded_text("Slice", 13, {ints({1}), number(0), ints({1})}).find("must be of integers"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
