// Products and convolutions: the reference against the definition in double, and every instruction set
// against the reference, bit for bit.
#include <gtest/gtest.h>

#include "kern/dispatch.h"
#include "kern/kernels.h"
#include "kern/product_cases.h"

namespace halftone::kern {
namespace test {
namespace {

const ProductKind kConvs[] = {ProductKind::kConv, ProductKind::kConvGradInput, ProductKind::kConvGradWeight};

struct Precision {
  DType dtype;
  Multiply multiply;
};
const Precision kPrecisions[] = {{DType::kF16, Multiply::kBlock},
                                 {DType::kBf16, Multiply::kBlock},
                                 {DType::kF16, Multiply::kWide},
                                 {DType::kBf16, Multiply::kWide},
                                 {DType::kF32, Multiply::kWide}};

std::vector<Product> all_products(DType dtype, Multiply multiply) {
  std::vector<Product> list;
  std::vector<ConvGeometry> convs = conv_cases();
  const std::vector<ConvGeometry> blocked = blocked_conv_cases();
  convs.insert(convs.end(), blocked.begin(), blocked.end());
  for (const ConvGeometry& g : convs)
    for (const ProductKind kind : kConvs)
      list.push_back(conv_product(kind, dtype, multiply, kind == ProductKind::kConv && g.o % 2 != 0, g));
  for (const MatMulCase& c : matmul_cases())
    list.push_back(matmul_product(dtype, multiply, c.bias, c.geometry));
  return list;
}

// |computed - exact| <= (operand error + chain error) * sum |terms| + one rounding of the result.
void expect_near_definition(const Product& p, const std::vector<std::byte>& y, const Exact& e) {
  const double storage = p.dtype == DType::kF64   ? 0x1p-53
                         : p.dtype == DType::kF32 ? 0x1p-24
                         : p.dtype == DType::kF16 ? 0x1p-11
                                                  : 0x1p-8;
  const double subnormal = p.dtype == DType::kF16 ? 0x1p-25 : 0;
  const double chain = (p.dtype == DType::kF64 ? 0x1p-53 : 0x1p-24) *
                       64;  // roundings grow as the root of the length, below 4096
  int64_t nonzero = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(e.y.size()); ++i) {
    const double want = e.y[static_cast<size_t>(i)];
    // block: each operand is off by at most 2^-13 of its block's maximum; Gaussian terms average 2/pi of ...
    // maxima are below 6 sigma, so the error of a term is below 2 * 6 * 2^-13 of sigma^2; it averages out, so
    // half of that, over the sum of magnitudes, is generous.
    const double operand = p.multiply == Multiply::kBlock ? 6 * 0x1p-13 : 0;
    const double bound =
        (operand + chain) * (e.magnitude[static_cast<size_t>(i)] + 4) + storage * std::abs(want) + subnormal;
    const double got = load(p.dtype, y, i);
    ASSERT_NEAR(got, want, bound) << describe(p) << " element " << i;
    nonzero += got != 0 ? 1 : 0;
  }
  EXPECT_GT(2 * nonzero, static_cast<int64_t>(e.y.size()) / 4) << describe(p);
}

// Threads, order of chunks and everything else that may vary: same bits.
TEST(Matrix, ReferenceDoesNotDependOnThreads) {
  for (const auto& [dtype, multiply] : kPrecisions)
    for (const Product& p : all_products(dtype, multiply)) {
      const Operands x = random_operands(p, 13);
      const MatrixKernels& kernels = table(Isa::kReference).matrix;
      const std::vector<std::byte> one = run(kernels, p, x);
      ASSERT_FALSE(one.empty()) << describe(p);
      EXPECT_EQ(one, run(kernels, p, x, 3, 7)) << describe(p);
    }
}

std::vector<Isa> fast_isas() {
  std::vector<Isa> list = available();
  list.erase(list.begin());
  return list;
}

// The first difference between two results, NaNs being equal; empty when there is none.
std::string difference(const Product& p, const std::vector<std::byte>& want,
                       const std::vector<std::byte>& got) {
  if (want.empty() || got.empty()) return "something was written beyond the result or the scratch";
  if (want == got) return {};
  for (int64_t i = 0; i < sizes_of(p).y; ++i) {
    const double a = load(p.dtype, want, i);
    const double b = load(p.dtype, got, i);
    const bool same = std::memcmp(want.data() + i * size_bytes(p.dtype), got.data() + i * size_bytes(p.dtype),
                                  static_cast<size_t>(size_bytes(p.dtype))) == 0;
    if (!same && !(std::isnan(a) && std::isnan(b)))
      return "element " + std::to_string(i) + " of " + std::to_string(sizes_of(p).y) + ": " +
             std::to_string(a) + " and " + std::to_string(b);
  }
  return {};
}

// The heart of "one meaning on every CPU".
TEST(Matrix, InstructionSetsEqualTheReference) {
  for (const auto& [dtype, multiply] : kPrecisions)
    for (const Product& p : all_products(dtype, multiply)) {
      const Operands x = random_operands(p, 21);
      const std::vector<std::byte> want = run(table(Isa::kReference).matrix, p, x);
      for (const Isa isa : fast_isas())
        for (const int threads : {1, 2, 4})
          EXPECT_EQ(difference(p, want, run(table(isa).matrix, p, x, threads, 5)), "")
              << name_of(isa) << " " << threads << " threads: " << describe(p);
    }
}

TEST(Matrix, InstructionSetsEqualTheReferenceOnSpecialValues) {
  for (const auto& [dtype, multiply] : kPrecisions)
    for (const Product& p : all_products(dtype, multiply))
      for (const Flavour flavour : {Flavour::kZeros, Flavour::kTiny, Flavour::kHuge, Flavour::kNonFinite}) {
        const Operands x = random_operands(p, 22, flavour);
        const std::vector<std::byte> want = run(table(Isa::kReference).matrix, p, x);
        for (const Isa isa : fast_isas())
          EXPECT_EQ(difference(p, want, run(table(isa).matrix, p, x)), "")
              << name_of(isa) << " flavour " << static_cast<int>(flavour) << ": " << describe(p);
      }
}

// Overflow must stay visible: a block with a non-finite value has only NaN results.
TEST(Matrix, NonFiniteBlocksGiveNan) {
  const ConvGeometry g = geometry(2, 6, 6, 4, 5, 3, 1, 1);
  const Product p = conv_product(ProductKind::kConv, DType::kF16, Multiply::kBlock, false, g);
  Operands x = random_operands(p, 23);
  store(p.dtype, x.a, 17, INFINITY);  // image 0
  for (const Isa isa : available()) {
    const std::vector<std::byte> y = run(table(isa).matrix, p, x);
    const int64_t image = g.oh * g.ow * g.o;
    for (int64_t i = 0; i < image; ++i)
      EXPECT_TRUE(std::isnan(load(p.dtype, y, i))) << name_of(isa) << " " << i;
    for (int64_t i = image; i < 2 * image; ++i)
      EXPECT_TRUE(std::isfinite(load(p.dtype, y, i))) << name_of(isa) << " " << i;
  }
}

TEST(Matrix, ReferenceIsTheDefinition) {
  std::vector<Precision> precisions(std::begin(kPrecisions), std::end(kPrecisions));
  precisions.push_back({DType::kF64, Multiply::kWide});
  for (const auto& [dtype, multiply] : precisions) {
    for (const MatMulCase& c : matmul_cases()) {
      const Product p = matmul_product(dtype, multiply, c.bias, c.geometry);
      const Operands x = random_operands(p, 11);
      expect_near_definition(p, run(table(Isa::kReference).matrix, p, x), exact(p, x, {}));
    }
    for (const ConvGeometry& g : conv_cases())
      for (const ProductKind kind : kConvs) {
        const Product p = conv_product(kind, dtype, multiply, kind == ProductKind::kConv && g.o % 2 != 0, g);
        const Operands x = random_operands(p, 12);
        expect_near_definition(p, run(table(Isa::kReference).matrix, p, x), exact(p, x, g));
      }
  }
}

}  // namespace
}  // namespace test
}  // namespace halftone::kern
