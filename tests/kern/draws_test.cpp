#include "kern/draws.h"

#include <gtest/gtest.h>

#include <cmath>

namespace halftone::kern {
namespace {

// Its own logarithm and cosine are the standard library's, to a few units of rounding.
TEST(Draws, NormalNumbersAreBoxAndMullers) {
  const num::RandomKey key = num::random_key(3, 4);
  double y[501];
  draw({Draw::kNormal, DType::kF64, y, 0, 501, 0, 1, nullptr, key, 9});
  for (uint64_t i = 0; i < 501; ++i) {
    const auto words = num::philox(key, i / 2, 9);
    const double u = (words[i % 2 * 2] + 0.5) / 4294967296.0;
    const double turn = words[i % 2 * 2 + 1] / 4294967296.0;
    const double wanted = std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * turn);
    EXPECT_NEAR(y[i], wanted, 1e-14 * (1 + std::fabs(wanted))) << i;
  }
}

// A draw in parts is the draw.
TEST(Draws, ElementsCountFromTheFirst) {
  const num::RandomKey key = num::random_key(3, 4);
  for (const Draw kind : {Draw::kUniform, Draw::kNormal}) {
    float whole[100];
    float parts[100];
    draw({kind, DType::kF32, whole, 0, 100, -1, 2, nullptr, key, 0});
    for (const auto& [first, n] : {std::pair{0, 7}, {7, 30}, {37, 63}})
      draw({kind, DType::kF32, parts + first, first, n, -1, 2, nullptr, key, 0});
    for (int i = 0; i < 100; ++i) EXPECT_EQ(whole[i], parts[i]) << i;
  }
}

}  // namespace
}  // namespace halftone::kern
