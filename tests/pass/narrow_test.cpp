// What narrowing a file's tensors to storage loses, and that it is told.
#include "pass/narrow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace halftone::pass {
namespace {

ir::Value parameter(DType storage, std::vector<float> elements) {
  Tensor t(DType::kF32, {static_cast<int64_t>(elements.size())});
  std::copy(elements.begin(), elements.end(), t.as<float>().begin());
  ir::Value value;
  value.name = "weight";
  value.kind = ir::ValueKind::kParameter;
  value.type = {storage, t.shape()};
  value.data = std::make_shared<const Tensor>(std::move(t));
  return value;
}

NarrowLoss loss_of(DType storage, std::vector<float> elements) {
  NarrowLoss loss;
  narrow(parameter(storage, std::move(elements)), &loss);
  return loss;
}

TEST(Narrow, CountsEachKindOfLossOnce) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // Exact: 1, 0, -0, infinity, NaN. Half a unit off: 1 + 2^-11. Lost: 2^-26. Subnormal in fp16: 2^-15,
  // -2^-24. Too large: 65520, -1e9.
  const NarrowLoss loss = loss_of(
      DType::kF16, {1, 0, -0.0F, kInf, nan, 1 + 0x1p-11F, 0x1p-26F, 0x1p-15F, -0x1p-24F, 65520, -1e9F});
  EXPECT_EQ(loss.name, "weight");
  EXPECT_EQ(loss.elements, 11);
  EXPECT_EQ(loss.flushed, 1);
  EXPECT_EQ(loss.subnormal, 2);
  EXPECT_EQ(loss.overflowed, 2);
  EXPECT_EQ(loss.largest, static_cast<double>(kInf));
  EXPECT_EQ(loss.worst_relative_error, 0x1p-11 / (1 + 0x1p-11));
}

TEST(Narrow, WorstErrorIsOfTheValueThatLosesMostForItsSize) {
  // 1.5 * 2^-11 off 1 is nearer to its neighbour than half a unit; 2 + 2^-10 loses as much for its size as 1
  // + 2^-11.
  const NarrowLoss loss = loss_of(DType::kF16, {1000.25F, 1 + 0x1.8p-11F, 2 + 0x1p-10F, 3});
  EXPECT_EQ(loss.flushed + loss.subnormal + loss.overflowed, 0);
  EXPECT_EQ(loss.largest, 1000.25);
  EXPECT_EQ(loss.worst_relative_error, 0x1p-10 / (2 + 0x1p-10));
}

TEST(Narrow, Bf16KeepsTheRangeOfFp32) {
  const NarrowLoss loss = loss_of(DType::kBf16, {1e30F, 0x1p-130F, -1e-30F});
  EXPECT_EQ(loss.subnormal, 1);  // 2^-130 is one in fp32 already
  EXPECT_EQ(loss.flushed + loss.overflowed, 0);
  EXPECT_LE(loss.worst_relative_error, 0x1p-8);
}

}  // namespace
}  // namespace halftone::pass
