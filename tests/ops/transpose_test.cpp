#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

Case make(const Shape& x, const Ints& perm, bool given = true) {
  Case c = onnx_case({"Transpose", 13, given ? Attributes{{"perm", perm}} : Attributes{}}, {x});
  c.expected = [=](const std::vector<Numbers>& values) {
    Shape y;
    for (const int64_t axis : perm) y.push_back(x[static_cast<size_t>(axis)]);
    const Shape strides = strides_of(x);
    Numbers out;
    for (int64_t i = 0; i < elements(y); ++i) {
      int64_t rest = i;
      int64_t at = 0;
      for (size_t d = y.size(); d-- > 0;) {
        at += rest % y[d] * strides[static_cast<size_t>(perm[d])];
        rest /= y[d];
      }
      out.push_back(values[0][static_cast<size_t>(at)]);
    }
    return std::vector<Numbers>{out};
  };
  c.nonzero = 1;
  c.roundings = 0;  // nothing but copies
  return c;
}

TEST(Transpose, ForwardAndGradient) {
  check(make({3, 5}, {1, 0}));
  check(make({2, 3, 4}, {1, 2, 0}));
  check(make({2, 3, 4, 5}, {0, 2, 3, 1}));  // to channels last
  check(make({2, 4, 5, 3}, {0, 3, 1, 2}));  // and back
  check(make({2, 3, 2, 2, 2}, {4, 2, 0, 3, 1}));
  check(make({2, 1, 2, 1, 2, 1, 2, 2}, {7, 6, 5, 4, 3, 2, 1, 0}));
}

TEST(Transpose, ReversesByDefault) {
  check(make({2, 3, 4}, {2, 1, 0}, false));
}

TEST(Transpose, ARepeatedInputGetsBothGradients) {
  Case c = make({3, 3}, {1, 0});
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0], x[0]};
  };
  c.expected = nullptr;
  c.roundings = 1;
  check(c);
}

TEST(Transpose, OfOrderedAxesIsTheInput) {
  EXPECT_TRUE(imported_ops({"Transpose", 13, {{"perm", Ints{0, 1}}}}, {{2, 3}}).empty());
  EXPECT_TRUE(imported_ops({"Transpose", 13}, {{}}).empty());
}

TEST(Transpose, ManyElementsAndThreads) {
  for (const auto& [shape, perm] : std::vector<std::pair<Shape, Ints>>{
           {{301, 203}, {1, 0}}, {{2, 24, 33, 65}, {0, 2, 3, 1}}, {{3, 70, 9, 33}, {3, 1, 2, 0}}})
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      const Case c = make(shape, perm);
      const std::vector<Numbers> x = random_inputs(c, dtype);
      ASSERT_EQ(forward(c, dtype, x, 3), c.expected(x)) << to_string(shape);
    }
}

TEST(Transpose, RefusesWhatIsNoPermutation) {
  const auto message = [](const Ints& perm, const Shape& x = {2, 3}) {
    return refusal({"Transpose", 13, {{"perm", perm}}}, {x});
  };
  for (const Ints& perm : {Ints{0, 0}, Ints{0, 2}, Ints{0, -1}, Ints{1}, Ints{0, 1, 2}, Ints{}})
    EXPECT_NE(message(perm).find("perm"), std::string::npos) << testing::PrintToString(perm);
  EXPECT_NE(refusal({"Transpose", 13, {{"axes", Ints{1, 0}}}}, {{2, 3}}).find("'axes'"), std::string::npos);
}

// A kernel's limit: also for the transpositions that other operators' imports add.
TEST(Transpose, RefusesMoreThanEightDimensions) {
  const Shape x(9, 1);
  EXPECT_NE(refusal({"Transpose", 13}, {x}).find("more than 8 dimensions"), std::string::npos);
  EXPECT_NE(refusal({"Softmax", 13, {{"axis", int64_t{0}}}}, {x}).find("more than 8 dimensions"),
            std::string::npos);
  EXPECT_EQ(refusal({"Softmax", 13}, {x}), "");
}

TEST(Transpose, FoldsConstants) {
  EXPECT_EQ(folded_text("Transpose", 13, {ints({1, 2, 3, 4, 5, 6}, {2, 3})}), "1 4 2 5 3 6 (int64 3x2)");
  EXPECT_NE(folded_text("Transpose", 13, {ints({1, 2}, {2, 1})}, {{"perm", Ints{0}}}).find("perm"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
