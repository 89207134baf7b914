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
const Precision kPrecisions[] = {{DType::kF16, Multiply::kBlock}, {DType::kBf16, Multiply::kBlock},
                                 {DType::kF16, Multiply::kHalf},  {DType::kF16, Multiply::kWide},
                                 {DType::kBf16, Multiply::kWide}, {DType::kF32, Multiply::kWide}};

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
    // half: 64 roundings to fp16 in a chain, which grow as their root.
    const double operand = p.multiply == Multiply::kBlock  ? 6 * 0x1p-13
                           : p.multiply == Multiply::kHalf ? 8 * 0x1p-11
                                                           : 0;
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

std::vector<Delivery> fast_deliveries(const Product& p) {
  std::vector<Delivery> list = deliveries(p);
  list.erase(list.begin());
  return list;
}

// The terms [k0, k0 + terms) of K of an operand, which is stored [k][size] or, where `down`, [size][k].
std::vector<std::byte> terms_of(const std::vector<std::byte>& x, int64_t width, int64_t size, int64_t k,
                                bool down, int64_t k0, int64_t terms) {
  std::vector<std::byte> out;
  const auto append = [&](int64_t first, int64_t count) {
    const auto at = x.begin() + static_cast<std::ptrdiff_t>(first * width);
    out.insert(out.end(), at, at + static_cast<std::ptrdiff_t>(count * width));
  };
  if (!down) append(k0 * size, terms * size);
  for (int64_t i = 0; down && i < size; ++i) append(i * k + k0, terms);
  return out;
}

void add_terms(const MatrixKernels& kernels, const Product& p, const std::vector<std::byte>& a,
               const std::vector<std::byte>& b, std::vector<float>& sums, int threads) {
  ProductPlan plan{};
  plan.product = p;
  plan.threads = threads;
  kernels.plan(plan);
  std::vector<std::byte> memory(static_cast<size_t>(plan.scratch_bytes) + 64);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  std::byte* const scratch = memory.data() + (64 - address % 64) % 64;
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040U);  // FTZ and DAZ
  for (int stage = 0; stage < plan.stages; ++stage)
    for (int64_t chunk = 0; chunk < plan.chunks[stage]; ++chunk)
      kernels.run(plan, {a.data(), b.data(), nullptr, sums.data(), scratch}, stage, chunk,
                  static_cast<int>(chunk % threads));
  _mm_setcsr(mode);
}

// A sum in several products is the sum in one.
TEST(Matrix, SumsGoOnWhereTheyStopped) {
  for (const auto& [dtype, multiply] : kPrecisions)
    for (const MatMulCase& c : matmul_cases()) {
      if (c.geometry.batch_rank != 0) continue;
      const Product whole = matmul_product(dtype, multiply, false, c.geometry);
      const MatMulGeometry& g = whole.matmul;
      const Operands x = random_operands(whole, 5);
      const int64_t width = size_bytes(dtype);
      for (const Delivery& d : deliveries(whole)) {
        const std::vector<std::byte> want = run(d.kernels, whole, x);
        const auto n = static_cast<size_t>(g.m * g.n);
        std::vector<float> sums(n + 1, 0.0F);
        sums[n] = 17;
        for (int64_t k0 = 0; k0 < g.k; k0 += 256) {
          MatMulGeometry part = g;
          part.k = std::min<int64_t>(256, g.k - k0);
          part.alpha = 1;
          part.sums = true;
          add_terms(d.kernels, matmul_product(dtype, multiply, false, part),
                    terms_of(x.a, width, g.m, g.k, !g.trans_a, k0, part.k),
                    terms_of(x.b, width, g.n, g.k, g.trans_b, k0, part.k), sums, k0 == 0 ? 1 : 3);
        }
        EXPECT_EQ(sums[n], 17) << d.name << " " << describe(whole);
        for (size_t i = 0; i < n; ++i) {
          const float y = sums[i] * g.alpha;
          const double stored = dtype == DType::kF32   ? y
                                : dtype == DType::kF16 ? num::widen(num::narrow<num::Fp16>(y))
                                                       : num::widen(num::narrow<num::Bf16>(y));
          ASSERT_EQ(stored, load(dtype, want, static_cast<int64_t>(i))) << d.name << " " << describe(whole);
        }
      }
    }
}

// The heart of "one meaning on every CPU".
TEST(Matrix, InstructionSetsEqualTheReference) {
  for (const auto& [dtype, multiply] : kPrecisions)
    for (const Product& p : all_products(dtype, multiply)) {
      const Operands x = random_operands(p, 21);
      const std::vector<std::byte> want = run(table(Isa::kReference).matrix, p, x);
      for (const Delivery& d : fast_deliveries(p))
        for (const int threads : {1, 2, 4})
          EXPECT_EQ(difference(p, want, run(d.kernels, p, x, threads, 5)), "")
              << d.name << " " << threads << " threads: " << describe(p);
    }
}

TEST(Matrix, InstructionSetsEqualTheReferenceOnSpecialValues) {
  for (const auto& [dtype, multiply] : kPrecisions)
    for (const Product& p : all_products(dtype, multiply))
      for (const Flavour flavour : {Flavour::kZeros, Flavour::kTiny, Flavour::kHuge, Flavour::kNonFinite}) {
        const Operands x = random_operands(p, 22, flavour);
        const std::vector<std::byte> want = run(table(Isa::kReference).matrix, p, x);
        for (const Delivery& d : fast_deliveries(p))
          EXPECT_EQ(difference(p, want, run(d.kernels, p, x)), "")
              << d.name << " flavour " << static_cast<int>(flavour) << ": " << describe(p);
      }
}

// Whole chunks of bf16's largest integers, 4080 and -4080, nearly reach the ends of int32.
TEST(Matrix, LargestSumsAreExact) {
  const ConvGeometry g = geometry(2, 8, 16, 128, 32, 1, 1, 0);
  for (const ProductKind kind : kConvs)
    for (const double sign : {1.0, -1.0}) {
      const Product p = conv_product(kind, DType::kBf16, Multiply::kBlock, false, g);
      Operands x = random_operands(p, 24);
      const Sizes sizes = sizes_of(p);
      for (int64_t i = 0; i < sizes.a; ++i) store(p.dtype, x.a, i, 255);
      for (int64_t i = 0; i < sizes.b; ++i) store(p.dtype, x.b, i, sign * 255);
      const double terms = kind == ProductKind::kConv            ? static_cast<double>(g.c)
                           : kind == ProductKind::kConvGradInput ? static_cast<double>(g.o)
                                                                 : static_cast<double>(g.n * g.oh * g.ow);
      for (const Delivery& d : deliveries(p)) {
        const std::vector<std::byte> y = run(d.kernels, p, x);
        ASSERT_FALSE(y.empty()) << d.name;
        const double want = num::widen(num::to_bf16(static_cast<float>(sign * 255 * 255 * terms)));
        for (int64_t i = 0; i < sizes.y; ++i)
          ASSERT_EQ(load(p.dtype, y, i), want) << d.name << " " << describe(p);
      }
    }
}

// Overflow must stay visible: a block with a non-finite value has only NaN results.
TEST(Matrix, NonFiniteBlocksGiveNan) {
  const ConvGeometry g = geometry(2, 6, 6, 4, 5, 3, 1, 1);
  const Product p = conv_product(ProductKind::kConv, DType::kF16, Multiply::kBlock, false, g);
  Operands x = random_operands(p, 23);
  store(p.dtype, x.a, 17, INFINITY);  // image 0
  for (const Delivery& d : deliveries(p)) {
    const std::vector<std::byte> y = run(d.kernels, p, x);
    const int64_t image = g.oh * g.ow * g.o;
    for (int64_t i = 0; i < image; ++i) EXPECT_TRUE(std::isnan(load(p.dtype, y, i))) << d.name << " " << i;
    for (int64_t i = image; i < 2 * image; ++i)
      EXPECT_TRUE(std::isfinite(load(p.dtype, y, i))) << d.name << " " << i;
  }
}

// The fp16 nearest to x * 2^-48, ties to even, by integers alone.
double nearest_fp16(__int128 x) {
  const bool negative = x < 0;
  unsigned __int128 rest = negative ? -static_cast<unsigned __int128>(x) : static_cast<unsigned __int128>(x);
  int exponent = -48;
  bool lost = false;  // something below `rest`'s last bit
  bool half = false;  // the bit below it
  while (rest >= 2048 || exponent < -24) {
    lost = lost || half;
    half = (rest & 1) != 0;
    rest >>= 1;
    ++exponent;
  }
  if (half && (lost || (rest & 1) != 0)) ++rest;
  const double magnitude = std::ldexp(static_cast<double>(static_cast<uint64_t>(rest)), exponent);
  const double rounded = magnitude > 65504 ? INFINITY : magnitude;
  return negative ? -rounded : rounded;
}

// One fp16 fma each: a row c, 0, a times a column 1, 0, b has c and a * b in the first chain.
TEST(Matrix, HalfRoundsOnceEachTime) {
  MatMulGeometry g{};
  g.m = 1, g.k = 3, g.n = 1, g.alpha = 1, g.batch_rank = 1;
  g.batch[0] = 200000, g.a_stride[0] = g.b_stride[0] = 1;
  const Product p = matmul_product(DType::kF16, Multiply::kHalf, false, g);
  std::mt19937_64 random(31);
  Operands x = random_operands(p, 31);
  std::vector<double> want;
  int64_t kinds[4] = {};
  for (int64_t i = 0; i < g.batch[0]; ++i) {
    // All finite bit patterns; every other time c is about as large as a * b, or their sum near a tie.
    const auto any = [&] {
      const auto bits = static_cast<uint16_t>(random());
      const double v = num::widen(num::Fp16{bits});
      return std::isfinite(v) ? v : 65504.0;
    };
    double a = any();
    double b = any();
    double c = any();
    if (i % 2 != 0) {
      b = std::ldexp(std::remainder(b, 1.0) + 1, static_cast<int>(random() % 12) - 6);
      b = num::widen(num::to_fp16(static_cast<float>(b)));
      a = std::ldexp(static_cast<double>(random() % 2048), static_cast<int>(random() % 25) - 24);
      c = num::widen(num::to_fp16(static_cast<float>(-a * b * (1 + std::ldexp(1, -(i % 13))))));
      if (!std::isfinite(c)) c = 1;
    }
    store(p.dtype, x.a, 3 * i, c), store(p.dtype, x.a, 3 * i + 1, 0), store(p.dtype, x.a, 3 * i + 2, a);
    store(p.dtype, x.b, 3 * i, 1), store(p.dtype, x.b, 3 * i + 1, 0), store(p.dtype, x.b, 3 * i + 2, b);
    // Multiples of 2^-48 below 2^33.
    want.push_back(nearest_fp16(static_cast<__int128>(std::ldexp(a * b, 48)) +
                                static_cast<__int128>(std::ldexp(c, 48))));
    const double magnitude = std::abs(want.back());
    ++kinds[magnitude == 0 ? 0 : magnitude < 0x1p-14 ? 1 : magnitude <= 65504 ? 2 : 3];
  }
  for (const int64_t n : kinds) EXPECT_GT(n, 100);  // zeros, subnormals, numbers, overflows
  for (const Delivery& d : deliveries(p)) {
    const std::vector<std::byte> y = run(d.kernels, p, x);
    ASSERT_FALSE(y.empty());
    for (int64_t i = 0; i < g.batch[0]; ++i)
      ASSERT_EQ(load(p.dtype, y, i), want[static_cast<size_t>(i)])
          << d.name << ": " << load(p.dtype, x.a, 3 * i + 2) << " * " << load(p.dtype, x.b, 3 * i + 2)
          << " + " << load(p.dtype, x.a, 3 * i);
  }
}

// A chain beyond 65504 shows, even when later terms or the other chain would have brought the sum back.
TEST(Matrix, HalfOverflowsVisibly) {
  MatMulGeometry g{};
  g.m = 1, g.k = 128, g.n = 1, g.alpha = 1;
  const Product p = matmul_product(DType::kF16, Multiply::kHalf, false, g);
  Operands x = random_operands(p, 32);
  for (int64_t k = 0; k < 128; ++k) {
    store(p.dtype, x.a, k, k % 2 == 0 ? 2048 : 0);
    store(p.dtype, x.b, k, k < 64 ? 1 : -1);  // the sums go to 65536 and back
  }
  for (const Isa isa : available())
    if (table(isa).matrix.half) {
      EXPECT_EQ(load(p.dtype, run(table(isa).matrix, p, x), 0), INFINITY) << name_of(isa);
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
