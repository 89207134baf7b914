#include "num/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "num/random.h"

namespace halftone::num {
namespace {

TEST(Fp16, EveryValueSurvivesWideningAndNarrowing) {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const Fp16 h{static_cast<uint16_t>(bits)};
    const float x = widen(h);
    if (std::isnan(x)) {
      EXPECT_TRUE((to_fp16(x).bits & 0x7FFFU) > 0x7C00U);
    } else {
      EXPECT_EQ(to_fp16(x).bits, bits);
      EXPECT_EQ(to_fp16_stochastic(x, 0xFFFF).bits, bits) << "a representable value moved";
      EXPECT_EQ(to_bf16_stochastic(widen(Bf16{h.bits}), 0xFFFF).bits, to_bf16(widen(Bf16{h.bits})).bits);
    }
  }
}

TEST(Fp16, TiesGoToEven) {
  EXPECT_EQ(to_fp16(1.0F + 0x1p-11F).bits, 0x3C00);
  EXPECT_EQ(to_fp16(1.0F + 3 * 0x1p-11F).bits, 0x3C02);
  EXPECT_EQ(to_fp16(0x1p-25F).bits, 0);
  EXPECT_EQ(to_fp16(3 * 0x1p-25F).bits, 2);
  EXPECT_EQ(to_fp16(65519.99F).bits, 0x7BFF);
  EXPECT_EQ(to_fp16(65520.0F).bits, 0x7C00);
}

TEST(Fp16, StochasticRoundingIsRightOnAverage) {
  const RandomKey key = random_key(7, 1);
  for (const float x : {1.0003F, -0.1F, 3e-6F, 1.3e-7F, 1000.3F}) {
    double sum = 0;
    constexpr int kDraws = 1 << 16;
    for (int i = 0; i < kDraws; ++i)
      sum += widen(to_fp16_stochastic(x, random16(key, static_cast<uint64_t>(i), 0)));
    const double ulp = std::max(std::ldexp(1.0, std::ilogb(x) - 10), 0x1p-24);
    // Standard error of the mean of kDraws values spread over at most one ulp is ulp / 2 / sqrt(kDraws); five
    // of them.
    EXPECT_NEAR(sum / kDraws, x, 5 * ulp / 2 / std::sqrt(double{kDraws}));
  }
}

TEST(Fp16, StochasticOverflowIsInfinityNotTheLargestValue) {
  EXPECT_TRUE(std::isinf(widen(to_fp16_stochastic(1e5F, 0))));
  EXPECT_TRUE(std::isinf(widen(to_fp16_stochastic(65535.9F, 0xFFFF))));
  EXPECT_EQ(widen(to_fp16_stochastic(65505.0F, 0)), 65504.0F);
  EXPECT_TRUE(std::isnan(widen(to_fp16_stochastic(std::numeric_limits<float>::quiet_NaN(), 5))));
}

TEST(Philox, MatchesThePublishedVectors) {
  // Random123's known answers for philox4x32-10.
  const auto zeros = philox(RandomKey{0, 0}, 0, 0);
  EXPECT_EQ(zeros[0], 0x6627e8d5U);
  EXPECT_EQ(zeros[1], 0xe169c58dU);
  EXPECT_EQ(zeros[2], 0xbc57ac4cU);
  EXPECT_EQ(zeros[3], 0x9b00dbd8U);
  const auto ones = philox(RandomKey{0xffffffffU, 0xffffffffU}, ~0ULL, ~0ULL);
  EXPECT_EQ(ones[0], 0x408f276dU);
  EXPECT_EQ(ones[1], 0x41c83b0eU);
  EXPECT_EQ(ones[2], 0xa20bc7c6U);
  EXPECT_EQ(ones[3], 0x6d5451fdU);
}

}  // namespace
}  // namespace halftone::num
