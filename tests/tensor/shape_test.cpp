#include "tensor/shape.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/permutation.h"

namespace halftone {
namespace {

using Ints = std::vector<int64_t>;

TEST(Shape, CountsElements) {
  EXPECT_EQ(elements({}), 1);
  EXPECT_EQ(elements({2, 3, 4}), 24);
  EXPECT_EQ(elements({5, 0, 7}), 0);
}

TEST(Shape, RefusesSizesThatAreNone) {
  EXPECT_THROW(elements({2, -1}), Error);
  EXPECT_THROW(elements({int64_t{1} << 40, int64_t{1} << 40}), Error);
}

TEST(Shape, StridesAreRowMajor) {
  EXPECT_EQ(strides_of({2, 3, 4}), (Shape{12, 4, 1}));
  EXPECT_EQ(strides_of({}), Shape{});
}

TEST(Shape, IsWrittenForPeople) {
  EXPECT_EQ(to_string(Shape{}), "scalar");
  EXPECT_EQ(to_string(Shape{2, 3}), "2x3");
  EXPECT_EQ(to_string(Shape(17, 1)), "1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x... (17 dimensions)");
}

TEST(Shape, BroadcastsAsOnnxDoes) {
  EXPECT_EQ(broadcast({2, 1, 4}, {3, 1}), (Shape{2, 3, 4}));
  EXPECT_EQ(broadcast({}, {5}), (Shape{5}));
  EXPECT_EQ(broadcast({1}, {0}), (Shape{0}));
  EXPECT_THROW(broadcast({2, 3}, {2}), Error);
}

TEST(Shape, AxesMayCountFromTheEnd) {
  EXPECT_EQ(normalize_axis(-1, 3), 2);
  EXPECT_EQ(normalize_axis(0, 3), 0);
  EXPECT_THROW(normalize_axis(3, 3), Error);
  EXPECT_THROW(normalize_axis(-4, 3), Error);
}

TEST(Permutation, InverseUndoesIt) {
  const Ints perm{2, 0, 3, 1};
  EXPECT_EQ(inverse(perm), (Ints{1, 3, 0, 2}));
  EXPECT_EQ(inverse(inverse(perm)), perm);
}

TEST(Permutation, ChannelsAndAxesGoLast) {
  EXPECT_EQ(channels_last(4), (Ints{0, 2, 3, 1}));
  EXPECT_EQ(channels_last(2), (Ints{0, 1}));
  EXPECT_EQ(axes_last({1, 0}, 4), (Ints{2, 3, 1, 0}));
}

}  // namespace
}  // namespace halftone
