// Which of block and half is faster: what is measured, and where nothing is.
#include "exec/multiply_rates.h"

#include <gtest/gtest.h>

#include "kern/dispatch.h"

namespace halftone::exec {
namespace {

using kern::Multiply;
using kern::Product;
using kern::ProductKind;

std::vector<Product> products(DType dtype, int64_t channels, int64_t group) {
  const kern::ConvGeometry g{8, 12, 12, channels, 12, 12, channels, 3, 3, 1, 1, 1, 1, 1, 1, group};
  std::vector<Product> list;
  for (const ProductKind kind :
       {ProductKind::kConv, ProductKind::kConvGradInput, ProductKind::kConvGradWeight})
    list.push_back(kern::conv_product(kind, dtype, Multiply::kBlock, false, g));
  return list;
}

TEST(MultiplyRates, AreMeasuredWhereHalfIsDelivered) {
  constexpr double kSeconds = 0.02;
  std::vector<Product> list = products(DType::kF16, 24, 1);
  // One image alone is more than a try should be, and so is a product of matrices.
  const kern::ConvGeometry large{1, 300, 300, 64, 300, 300, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1};
  list.push_back(kern::conv_product(ProductKind::kConv, DType::kF16, Multiply::kBlock, true, large));
  kern::MatMulGeometry g{};
  g.m = g.k = g.n = 600, g.alpha = 1, g.batch_rank = 2, g.batch[0] = 2, g.batch[1] = 3;
  list.push_back(kern::matmul_product(DType::kF16, Multiply::kBlock, false, g));
  for (const kern::Isa isa : kern::available()) {
    if (isa == kern::Isa::kReference) continue;  // delivers half, far too slowly for this
    const kern::Kernels& kernels = kern::table(isa);
    const std::optional<MultiplyRates> rates = measure_multiply(list, kernels, kSeconds);
    ASSERT_EQ(rates.has_value(), kernels.matrix.half) << kern::name_of(isa);
    if (!rates) continue;
    EXPECT_GT(rates->block, 0);
    EXPECT_GT(rates->half, 0);
    EXPECT_LT(rates->half, 1e13);
  }
}

TEST(MultiplyRates, AreNotMeasuredForOtherTypesAndDepthwiseConvolutions) {
  for (const kern::Isa isa : kern::available()) {
    const kern::Kernels& kernels = kern::table(isa);
    EXPECT_FALSE(measure_multiply({}, kernels, 1));
    EXPECT_FALSE(measure_multiply(products(DType::kBf16, 24, 1), kernels, 1));
    EXPECT_FALSE(measure_multiply(products(DType::kF32, 24, 1), kernels, 1));
    EXPECT_FALSE(measure_multiply(products(DType::kF16, 24, 24), kernels, 1));
  }
}

}  // namespace
}  // namespace halftone::exec
