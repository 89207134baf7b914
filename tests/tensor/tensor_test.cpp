#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "num/half.h"

namespace halftone {
namespace {

Tensor counted(DType dtype, Shape shape) {
  Tensor wide(DType::kF64, std::move(shape));
  std::iota(wide.as<double>().begin(), wide.as<double>().end(), 0.0);
  return converted(wide, dtype);
}

TEST(Tensor, IsZeroedAndAligned) {
  for (const Shape& shape :
       {Shape{}, Shape{0, 3}, Shape{7}, Shape{1 << 19}}) {  // the last one is memory of the system's
    const Tensor t(DType::kF32, shape);
    EXPECT_FALSE(t.empty());
    EXPECT_EQ(t.size(), elements(shape));
    EXPECT_EQ(t.bytes(), 4 * t.size());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data()) % 64, 0U);
    EXPECT_TRUE(std::all_of(t.as<float>().begin(), t.as<float>().end(), [](float x) { return x == 0; }));
  }
  EXPECT_TRUE(Tensor().empty());
}

TEST(Tensor, RefusesSizesThatAreNone) {
  EXPECT_THROW(Tensor(DType::kF64, {int64_t{1} << 60, 4}), Error);
  EXPECT_THROW(Tensor(DType::kF32, {-1}), Error);
}

TEST(Tensor, ClonesAndReshapesAreCopies) {
  Tensor t = counted(DType::kF32, {2, 3});
  const Tensor copy = t.clone();
  const Tensor other = t.reshaped({3, 2});
  t.as<float>()[5] = 77;
  EXPECT_EQ(copy.as<float>()[5], 5);
  EXPECT_EQ(other.as<float>()[5], 5);
  EXPECT_EQ(other.shape(), (Shape{3, 2}));
  EXPECT_TRUE(Tensor().clone().empty());
}

TEST(Tensor, ConversionsRoundToNearestEven) {
  Tensor wide(DType::kF64, {6});
  const double values[] = {1 + std::ldexp(1.0, -11),
                           1 + 3 * std::ldexp(1.0, -11),
                           65519,
                           65520,
                           -0.0,
                           std::numeric_limits<double>::quiet_NaN()};
  std::copy(std::begin(values), std::end(values), wide.as<double>().begin());
  const Tensor half = converted(wide, DType::kF16);
  const auto at = [&](size_t i) { return num::widen(half.as<num::Fp16>()[i]); };
  EXPECT_EQ(at(0), 1);
  EXPECT_EQ(at(1), 1 + 4 * std::ldexp(1.0F, -11));
  EXPECT_EQ(at(2), 65504);
  EXPECT_TRUE(std::isinf(at(3)));
  EXPECT_TRUE(std::signbit(at(4)));
  EXPECT_TRUE(std::isnan(at(5)));
}

TEST(Tensor, IntegersAreReadWhateverTheirType) {
  const std::vector<int64_t> values{0, 1, 255};
  const Tensor whole = int64_tensor(values, {3});
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kU8})
    EXPECT_EQ(to_int64s(converted(whole, dtype)), values);
  EXPECT_THROW(to_int64s(Tensor(DType::kF32, {1})), InternalError);
}

TEST(Tensor, TransposesEveryType) {
  const std::vector<int64_t> wanted{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11};
  for (const DType dtype : {DType::kU8, DType::kI32, DType::kI64}) {
    std::vector<int64_t> values(12);
    std::iota(values.begin(), values.end(), 0);
    const Tensor turned = transposed(converted(int64_tensor(values, {3, 4}), dtype), {1, 0});
    EXPECT_EQ(turned.shape(), (Shape{4, 3}));
    EXPECT_EQ(to_int64s(turned), wanted);
  }
  const Tensor half = transposed(counted(DType::kF16, {2, 3, 4}), {2, 0, 1});
  EXPECT_EQ(half.shape(), (Shape{4, 2, 3}));
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 2; ++j)
      for (int64_t k = 0; k < 3; ++k)
        EXPECT_EQ(num::widen(half.as<num::Fp16>()[static_cast<size_t>((i * 2 + j) * 3 + k)]),
                  static_cast<float>((j * 3 + k) * 4 + i));
}

}  // namespace
}  // namespace halftone
