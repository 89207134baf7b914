#include "kern/moments.h"

#include <gtest/gtest.h>

#include <vector>

namespace halftone::kern {
namespace {

TEST(Moments, AreAddedRowByRow) {
  constexpr int64_t kRows = 7, kCols = 5, kStride = 8;
  std::vector<float> x(kRows * kStride);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.1F * static_cast<float>(i) - 2;
  std::vector<double> sum(kCols + 1, 3), squares(kCols + 1, 4);
  std::vector<double> wanted_sum = sum, wanted_squares = squares;
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kCols; ++c) {
      const double value = x[static_cast<size_t>(r * kStride + c)];
      wanted_sum[static_cast<size_t>(c)] += value;
      wanted_squares[static_cast<size_t>(c)] += value * value;
    }
  add_moments(x.data(), kRows, kCols, kStride, sum.data(), squares.data());
  EXPECT_EQ(sum, wanted_sum);
  EXPECT_EQ(squares, wanted_squares);
}

// A worker takes some columns: the sums of a column do not depend on the others.
TEST(Moments, OfSomeColumnsAreTheSame) {
  constexpr int64_t kRows = 33, kCols = 24;
  std::vector<float> x(kRows * kCols);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 7919) % 1000) * 1e-3F;
  std::vector<double> sum(kCols), squares(kCols), part_sum(kCols), part_squares(kCols);
  add_moments(x.data(), kRows, kCols, kCols, sum.data(), squares.data());
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 16}, {16, 8}})
    add_moments(x.data() + first, kRows, count, kCols, part_sum.data() + first, part_squares.data() + first);
  EXPECT_EQ(part_sum, sum);
  EXPECT_EQ(part_squares, squares);
  EXPECT_GT(sum[0], 0);
}

}  // namespace
}  // namespace halftone::kern
