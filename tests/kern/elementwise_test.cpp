// Element-wise kernels: equal to the reference on every instruction set, and the reference right against
// double.
#include "kern/harness.h"
#include "kern/pointwise.h"

namespace halftone::kern::test {
namespace {

struct UnaryCase {
  Unary op;
  const char* name;
  float alpha, beta;
  std::function<double(double)> f;  // in double, independent of lane/formula.h
  // Largest error of f in fp32 registers, in units of 2^-24: relative, and absolute (for results of
  // cancelling sums).
  double relative, absolute;
  bool positive;  // arguments must be
};

double sigma(double x) {
  return 1 / (1 + std::exp(-x));
}
double clamp01(double t) {
  return std::min(1.0, std::max(0.0, t));
}

// The bounds add up the roundings of lane/formula.h: 1 for each + * / and sqrt, 2 ULP (of up to 2 units) for
// erf, pow, softplus, 3 for tanh and sigmoid; `absolute` is the bound times the largest term of a sum that
// may cancel.
const std::vector<UnaryCase>& unary_cases() {
  static const std::vector<UnaryCase> cases = {
      {Unary::kRelu, "relu", 0, 0, [](double x) { return std::max(x, 0.0); }, 0, 0, false},
      {Unary::kLeakyRelu, "leaky_relu", 0.1F, 0, [](double x) { return x < 0 ? double{0.1F} * x : x; }, 1, 0,
       false},
      {Unary::kElu, "elu", 1.3F, 0, [](double x) { return x < 0 ? double{1.3F} * std::expm1(x) : x; }, 6, 0,
       false},
      {Unary::kSigmoid, "sigmoid", 0, 0, sigma, 8, 0, false},
      {Unary::kTanh, "tanh", 0, 0, [](double x) { return std::tanh(x); }, 8, 0, false},
      {Unary::kHardSigmoid, "hard_sigmoid", 0.2F, 0.5F,
       [](double x) { return clamp01(double{0.2F} * x + double{0.5F}); }, 1, 1, false},
      {Unary::kHardSwish, "hard_swish", 1.0F / 6, 0.5F,
       [](double x) { return x * clamp01(double{1.0F / 6} * x + double{0.5F}); }, 2, 8, false},
      {Unary::kClip, "clip", -0.5F, 0.75F, [](double x) { return std::min(0.75, std::max(-0.5, x)); }, 0, 0,
       false},
      {Unary::kSoftplus, "softplus", 0, 0, [](double x) { return x > 30 ? x : std::log1p(std::exp(x)); }, 8,
       0, false},
      {Unary::kErf, "erf", 0, 0, [](double x) { return std::erf(x); }, 6, 0, false},
      {Unary::kGelu, "gelu", 0, 0, [](double x) { return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5))); }, 10,
       40, false},
      {Unary::kGeluTanh, "gelu_tanh", 0, 0,
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); },
       12, 60, false},
      {Unary::kSqrt, "sqrt", 0, 0, [](double x) { return std::sqrt(x); }, 1, 0, true},
      {Unary::kNeg, "neg", 0, 0, [](double x) { return -x; }, 0, 0, false},
      {Unary::kExp, "exp", 0, 0, [](double x) { return std::exp(x); }, 2, 0, false},
      {Unary::kLog, "log", 0, 0, [](double x) { return std::log(x); }, 2, 0, true},
      {Unary::kPowScalar, "pow_2.5", 2.5F, 0, [](double x) { return std::pow(x, 2.5); }, 4, 0, true},
      {Unary::kPowScalar, "pow_3", 3, 0, [](double x) { return x * x * x; }, 4, 0, false},
      {Unary::kPowScalar, "pow_2", 2, 0, [](double x) { return x * x; }, 1, 0, false},
      {Unary::kPowScalar, "pow_-1", -1, 0, [](double x) { return 1 / x; }, 4, 0, true},
      {Unary::kAbs, "abs", 0, 0, [](double x) { return std::abs(x); }, 0, 0, false},
      {Unary::kReciprocal, "reciprocal", 0, 0, [](double x) { return 1 / x; }, 1, 0, true},
      {Unary::kSilu, "silu", 0, 0, [](double x) { return x * sigma(x); }, 10, 0, false},
      {Unary::kMinZero, "min_zero", 0, 0, [](double x) { return std::min(x, 0.0); }, 0, 0, false},
      {Unary::kSin, "sin", 0, 0, [](double x) { return std::sin(x); }, 3, 0, false},
      {Unary::kCos, "cos", 0, 0, [](double x) { return std::cos(x); }, 3, 0, false},
      {Unary::kTan, "tan", 0, 0, [](double x) { return std::tan(x); }, 6, 0, false},
      {Unary::kAtan, "atan", 0, 0, [](double x) { return std::atan(x); }, 4, 0, false},
      {Unary::kSinh, "sinh", 0, 0, [](double x) { return std::sinh(x); }, 8, 0, false},
      {Unary::kCosh, "cosh", 0, 0, [](double x) { return std::cosh(x); }, 8, 0, false},
      {Unary::kAsinh, "asinh", 0, 0, [](double x) { return std::asinh(x); }, 8, 0, false},
      {Unary::kSoftsign, "softsign", 0, 0, [](double x) { return x / (1 + std::abs(x)); }, 2, 0, false},
      {Unary::kSelu, "selu", 1.6F, 1.05F,
       [](double x) { return double{1.05F} * (x < 0 ? double{1.6F} * std::expm1(x) : x); }, 8, 0, false},
      {Unary::kCelu, "celu", 0.8F, 0,
       [](double x) { return x < 0 ? double{0.8F} * std::expm1(x / double{0.8F}) : x; }, 8, 0, false},
      {Unary::kThresholdedRelu, "thresholded_relu", 0.7F, 0,
       [](double x) { return x > double{0.7F} ? x : 0; }, 0, 0, false},
      {Unary::kShrink, "shrink", 0.25F, 0.5F,
       [](double x) { return x < -0.5  ? x + 0.25
                             : x > 0.5 ? x - 0.25
                                       : 0; }, 1, 0, false},
      {Unary::kMish, "mish", 0, 0,
       [](double x) { return x * std::tanh(x > 30 ? x : std::log1p(std::exp(x))); }, 14, 0, false},
      {Unary::kSwish, "swish", 1.7F, 0, [](double x) { return x * sigma(double{1.7F} * x); }, 24, 0, false},
      {Unary::kSign, "sign", 0, 0, [](double x) { return static_cast<double>((x > 0) - (x < 0)); }, 0, 0,
       false},
      {Unary::kFloor, "floor", 0, 0, [](double x) { return std::floor(x); }, 0, 0, false},
      {Unary::kCeil, "ceil", 0, 0, [](double x) { return std::ceil(x); }, 0, 0, false},
      {Unary::kRound, "round", 0, 0, [](double x) { return std::nearbyint(x); }, 0, 0, false},
      {Unary::kScale, "scale", 1.7F, -0.3F, [](double x) { return double{1.7F} * x + double{-0.3F}; }, 1, 0,
       false},
  };
  return cases;
}

class Elementwise : public KernelTest {};

TEST_F(Elementwise, UnaryEqualsTheReference) {
  for (const UnaryCase& c : unary_cases())
    for (const DType dtype : kStorages)
      for (const int64_t n : lengths()) {
        const Buffer x = values(dtype, n, static_cast<uint32_t>(n) + 1, Values::kSpecials, 3);
        expect_equal_everywhere(
            std::string(c.name) + " " + std::string(name_of(dtype)), Equality::kBits, [&](const Kernels& k) {
              Buffer y(dtype, n);
              k.unary({c.op, dtype, x.data(), y.data(), n, c.alpha, c.beta});
              Buffer in_place = x;
              k.unary({c.op, dtype, in_place.data(), in_place.data(), n, c.alpha, c.beta});
              EXPECT_TRUE(equal_buffers(y, in_place, Equality::kBits)) << "in place";
              return std::vector<Buffer>{y};
            });
      }
}

TEST_F(Elementwise, UnaryIsRightInEveryType) {
  for (const UnaryCase& c : unary_cases())
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
      const int64_t n = 4000;
      const Buffer x = values(dtype, n, 5, c.positive ? Values::kPositive : Values::kPlain, 2);
      Buffer y(dtype, n);
      table(Isa::kReference).unary({c.op, dtype, x.data(), y.data(), n, c.alpha, c.beta});
      ASSERT_TRUE(varies(y)) << c.name;
      // In double the error is that of the formula with double constants: the same count of roundings, of
      // 2^-53.
      const double unit = dtype == DType::kF64 ? 0x1p-53 : 0x1p-24;
      const double rounding = dtype == DType::kF64 || dtype == DType::kF32 ? 0 : epsilon(dtype);
      const double absolute = dtype == DType::kF64 ? 2 * c.absolute + 2 : c.absolute;
      for (int64_t i = 0; i < n; ++i) {
        const double want = c.f(x.at(i));
        const double bound =
            ((dtype == DType::kF64 ? 2 * c.relative + 4 : c.relative) * unit + rounding) * std::abs(want) +
            absolute * unit * (std::abs(x.at(i)) + 1) + smallest_normal(dtype) * epsilon(dtype) * 2;
        ASSERT_NEAR(y.at(i), want, bound) << c.name << " " << name_of(dtype) << " at " << x.at(i);
      }
    }
}

TEST_F(Elementwise, UnaryGradientEqualsTheReference) {
  for (const UnaryCase& c : unary_cases())
    for (const DType dtype : kStorages)
      for (const int64_t n : lengths()) {
        const Buffer s = values(dtype, n, static_cast<uint32_t>(n) + 2, Values::kSpecials, 2);
        const Buffer dy = values(dtype, n, static_cast<uint32_t>(n) + 3, Values::kSpecials);
        const void* x = gradient_reads_y(c.op) ? nullptr : s.data();
        const void* y = gradient_reads_y(c.op) ? s.data() : nullptr;
        expect_equal_everywhere(
            std::string(c.name) + " gradient " + std::string(name_of(dtype)), Equality::kNan,
            [&](const Kernels& k) {
              Buffer dx(dtype, n);
              k.unary_grad({c.op, dtype, x, y, dy.data(), dx.data(), n, c.alpha, c.beta});
              Buffer in_place = dy;
              k.unary_grad({c.op, dtype, x, y, in_place.data(), in_place.data(), n, c.alpha, c.beta});
              EXPECT_TRUE(equal_buffers(dx, in_place, Equality::kNan)) << "in place";
              return std::vector<Buffer>{dx};
            });
      }
}

// Functions that are defined on a part of the numbers only: NaN elsewhere, everywhere.
TEST_F(Elementwise, FunctionsWithADomainEqualTheReference) {
  for (const Unary op : {Unary::kAsin, Unary::kAcos, Unary::kAcosh, Unary::kAtanh})
    for (const DType dtype : kStorages)
      for (const Values kind : {Values::kPlain, Values::kSpecials}) {
        const int64_t n = 333;
        const Buffer x = values(dtype, n, 41, kind, 1);
        const Buffer dy = values(dtype, n, 42);
        expect_equal_everywhere("function with a domain", Equality::kNan, [&](const Kernels& k) {
          Buffer y(dtype, n);
          Buffer dx(dtype, n);
          k.unary({op, dtype, x.data(), y.data(), n, 0, 0});
          k.unary_grad({op, dtype, x.data(), nullptr, dy.data(), dx.data(), n, 0, 0});
          return std::vector<Buffer>{y, dx};
        });
      }
}

// The gradient in double against central differences of the function in double (h^2 f''' / 6 + rounding 2^-53
// / h with h = 1e-5: 1e-9).
TEST_F(Elementwise, UnaryGradientIsTheDerivative) {
  const Kernels& k = table(Isa::kReference);
  for (const UnaryCase& c : unary_cases()) {
    if (c.op == Unary::kSign || c.op == Unary::kFloor || c.op == Unary::kCeil || c.op == Unary::kRound)
      continue;
    const int64_t n = 500;
    const Buffer x = values(DType::kF64, n, 9, c.positive ? Values::kPositive : Values::kPlain, 2);
    Buffer y(DType::kF64, n);
    k.unary({c.op, DType::kF64, x.data(), y.data(), n, c.alpha, c.beta});
    const Buffer dy = values(DType::kF64, n, 10);
    Buffer dx(DType::kF64, n);
    k.unary_grad({c.op, DType::kF64, x.data(), y.data(), dy.data(), dx.data(), n, c.alpha, c.beta});
    ASSERT_TRUE(varies(dx)) << c.name;
    int64_t checked = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double at = x.at(i);
      const double h = 1e-5;
      const double slope = (c.f(at + h) - c.f(at - h)) / (2 * h);
      const double left = (c.f(at) - c.f(at - h)) / h;
      const double right = (c.f(at + h) - c.f(at)) / h;
      if (std::abs(left - right) > 1e-2 * (1 + std::abs(slope)) || std::abs(slope) > 1e3)
        continue;  // a kink, or near a pole
      ++checked;
      ASSERT_NEAR(dx.at(i), dy.at(i) * slope, 1e-6 * (1 + std::abs(dy.at(i) * slope)))
          << c.name << " at " << at;
    }
    EXPECT_GT(checked, n / 2) << c.name;
  }
}

TEST_F(Elementwise, KinksFollowPyTorch) {
  const Kernels& k = table(Isa::kReference);
  const auto gradient_at = [&](Unary op, float s, float alpha, float beta) {
    const float dy = 1;
    float dx = 99;
    k.unary_grad({op, DType::kF32, &s, &s, &dy, &dx, 1, alpha, beta});
    return dx;
  };
  EXPECT_EQ(gradient_at(Unary::kRelu, 0, 0, 0), 0);
  EXPECT_EQ(gradient_at(Unary::kLeakyRelu, 0, 0.25F, 0), 0.25F);
  EXPECT_EQ(gradient_at(Unary::kElu, 0, 2, 0), 2);
  EXPECT_EQ(gradient_at(Unary::kAbs, 0, 0, 0), 0);
  EXPECT_EQ(gradient_at(Unary::kClip, -1, -1, 1), 1);
  EXPECT_EQ(gradient_at(Unary::kThresholdedRelu, 1, 1, 0), 0);
  EXPECT_EQ(gradient_at(Unary::kShrink, 0.5F, 0, 0.5F), 0);
  EXPECT_EQ(gradient_at(Unary::kCelu, 0, 2, 0), 1);
  EXPECT_EQ(gradient_at(Unary::kSelu, 0, 2, 3), 6);
  EXPECT_EQ(gradient_at(Unary::kHardSigmoid, 2.5F, 0.2F, 0.5F), 0);
}

TEST_F(Elementwise, NanIsNeverHidden) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const UnaryCase& c : unary_cases())
    for (const Isa isa : available()) {
      float y = 0;
      table(isa).unary({c.op, DType::kF32, &nan, &y, 1, c.alpha, c.beta});
      EXPECT_TRUE(std::isnan(y)) << c.name << " " << name_of(isa);
    }
}

const std::vector<std::pair<Binary, const char*>> kBinaries = {{Binary::kAdd, "add"},
                                                               {Binary::kSub, "sub"},
                                                               {Binary::kMul, "mul"},
                                                               {Binary::kDiv, "div"},
                                                               {Binary::kPow, "pow"},
                                                               {Binary::kPRelu, "prelu"},
                                                               {Binary::kPReluSlope, "prelu_slope"},
                                                               {Binary::kMin, "min"},
                                                               {Binary::kMax, "max"},
                                                               {Binary::kMinShare, "min_share"},
                                                               {Binary::kMaxShare, "max_share"},
                                                               {Binary::kFmod, "fmod"},
                                                               {Binary::kEqual, "equal"},
                                                               {Binary::kDivOrZero, "div_or_zero"}};

TEST_F(Elementwise, BinaryEqualsTheReferenceInEveryBroadcast) {
  struct Form {
    int64_t a_row_factor, a_col, b_row_factor,
        b_col;  // row stride = factor * cols + (factor ? gap : 0), or 1 for factor -1
  };
  const std::vector<Form> forms = {{1, 1, 1, 1}, {1, 1, 0, 1}, {0, 1, 1, 1}, {1, 1, -1, 0},  {-1, 0, 1, 1},
                                   {1, 1, 0, 0}, {0, 0, 1, 1}, {0, 0, 0, 0}, {-1, 0, -1, 0}, {2, 1, 1, 1}};
  for (const auto& binary : kBinaries)
    for (const DType dtype : kStorages)
      for (const Form& f : forms)
        for (const int64_t rows : {0, 1, 3})
          for (const int64_t cols : {0, 1, 5, 16, 17, 49}) {
            const auto stride = [&](int64_t factor) { return factor == -1 ? int64_t{1} : factor * cols; };
            const int64_t a_row = stride(f.a_row_factor);
            const int64_t b_row = stride(f.b_row_factor);
            const Buffer a = values(dtype, 2 * 3 * 49 + 1, 21, Values::kSpecials, 2);
            const Buffer b = values(dtype, 2 * 3 * 49 + 1, 22, Values::kSpecials, 2);
            expect_equal_everywhere(std::string(binary.second) + " " + std::string(name_of(dtype)),
                                    Equality::kNan, [&](const Kernels& k) {
                                      Buffer y(dtype, rows * cols);
                                      k.binary({binary.first, dtype, a.data(), a_row, f.a_col, b.data(),
                                                b_row, f.b_col, y.data(), rows, cols});
                                      return std::vector<Buffer>{y};
                                    });
          }
}

TEST_F(Elementwise, BinaryIsRightAndWorksInPlace) {
  const int64_t n = 1000;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    for (const Isa isa : available()) {
      const Buffer a = values(dtype, n, 31, Values::kPositive);
      const Buffer b = values(dtype, n, 32);
      const auto check = [&](Binary op, double units, const std::function<double(double, double)>& f) {
        Buffer y = a;
        table(isa).binary({op, dtype, y.data(), n, 1, b.data(), n, 1, y.data(), 1, n});
        ASSERT_TRUE(varies(y));
        const double unit = dtype == DType::kF64 ? 0x1p-53 : 0x1p-24;
        for (int64_t i = 0; i < n; ++i) {
          const double want = f(a.at(i), b.at(i));
          ASSERT_NEAR(
              y.at(i), want,
              (units * unit + epsilon(dtype)) * std::abs(want) + smallest_normal(dtype) * epsilon(dtype) * 2);
        }
      };
      check(Binary::kAdd, 1, [](double x, double y) { return x + y; });
      check(Binary::kSub, 1, [](double x, double y) { return x - y; });
      check(Binary::kMul, 1, [](double x, double y) { return x * y; });
      check(Binary::kDiv, 1, [](double x, double y) { return x / y; });
      check(Binary::kPow, 4, [](double x, double y) { return std::pow(x, y); });
      check(Binary::kPRelu, 1, [](double x, double y) { return x < 0 ? x * y : x; });
    }
}

TEST_F(Elementwise, ConvertEqualsTheReferenceAndHalfH) {
  for (const DType from : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    for (const DType to : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
      for (const float scale : {1.0F, 1024.0F, 0.3F})
        for (const int64_t n : lengths()) {
          const Buffer x = values(from, n, static_cast<uint32_t>(n), Values::kSpecials);
          expect_equal_everywhere("convert", Equality::kBits, [&](const Kernels& k) {
            Buffer y(to, n);
            k.convert({from, x.data(), to, y.data(), n, scale});
            return std::vector<Buffer>{y};
          });
        }
}

// Every exponent, with significands around every tie: the hardware's conversions are num/half.h's.
TEST_F(Elementwise, NarrowingIsNumNarrowOnEveryInstructionSet) {
  std::vector<float> x;
  std::mt19937 engine(3);
  for (uint32_t high = 0; high < 0x10000U; ++high)
    for (const uint32_t low : {0x0000U, 0x0001U, 0x0FFFU, 0x1000U, 0x1001U, 0x7FFFU, 0x8000U, 0x8001U,
                               0xFFFFU, static_cast<uint32_t>(engine() & 0xFFFFU)}) {
      const uint32_t u = high << 16 | low;
      x.push_back(__builtin_bit_cast(float, u));
    }
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<uint16_t> y(x.size());
  for (const Isa isa : available()) {
    table(isa).convert({DType::kF32, x.data(), DType::kF16, y.data(), n, 1.0F});
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(y[i], num::to_fp16(x[i]).bits) << x[i] << " " << name_of(isa);
    table(isa).convert({DType::kF32, x.data(), DType::kBf16, y.data(), n, 1.0F});
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(y[i], num::to_bf16(x[i]).bits) << x[i] << " " << name_of(isa);
  }
  std::vector<uint16_t> all(0x10000);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<uint32_t> wide(all.size());
  for (const Isa isa : available()) {
    table(isa).convert({DType::kF16, all.data(), DType::kF32, wide.data(), 0x10000, 1.0F});
    for (size_t i = 0; i < all.size(); ++i)
      ASSERT_EQ(wide[i], __builtin_bit_cast(uint32_t, num::widen(num::Fp16{all[i]})))
          << i << " " << name_of(isa);
  }
}

TEST_F(Elementwise, AccumulateEqualsTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t n : lengths()) {
      const Buffer x = values(dtype, n, 41, Values::kSpecials);
      const Buffer start = values(DType::kF32, n, 42);
      expect_equal_everywhere("accumulate", Equality::kNan, [&](const Kernels& k) {
        Buffer acc = start;
        k.accumulate({dtype, x.data(), acc.data(), n});
        for (int64_t i = 0; i < n; ++i)
          EXPECT_TRUE(acc.at(i) == static_cast<float>(start.at(i) + x.at(i)) || std::isnan(acc.at(i)) ||
                      std::abs(acc.at(i)) < 0x1p-126);
        return std::vector<Buffer>{acc};
      });
    }
}

TEST_F(Elementwise, DropoutKeepsTheElementsThatRandom32Says) {
  const num::RandomKey key = num::random_key(11, 4);
  for (const DType dtype : kStorages)
    for (const int64_t first : {int64_t{0}, int64_t{5}, int64_t{63}, (int64_t{1} << 34) - 7})
      for (const int64_t n : {0, 1, 15, 16, 17, 130, 300}) {
        const Buffer x = values(dtype, n, 51, Values::kSpecials);
        expect_equal_everywhere("dropout", Equality::kBits, [&](const Kernels& k) {
          Buffer y(dtype, n);
          k.dropout({dtype, x.data(), y.data(), first, n, 0.3F, key, 77});
          for (int64_t i = 0; i < n; ++i) {
            const bool kept =
                num::random32(key, static_cast<uint64_t>(first + i), 77) >= double{0.3F} * 0x1p32;
            const double in = x.at(i);
            if (!kept) {
              EXPECT_EQ(y.at(i), 0);
            } else if (std::abs(in) > 1e-3 && std::abs(in) < 1e3) {
              EXPECT_NEAR(y.at(i), in / (1.0 - double{0.3F}), 2 * epsilon(dtype) * std::abs(in / 0.7));
            }
          }
          return std::vector<Buffer>{y};
        });
      }
}

// The harness can fail: a table whose kernel is wrong in one lane, in one bit, or writes one element too far
// is caught.
TEST_F(Elementwise, SabotageIsCaught) {
  const Buffer good = values(DType::kF16, 33, 1);
  Buffer bit = good;
  static_cast<uint16_t*>(bit.data())[32] ^= 1U;
  EXPECT_FALSE(equal_buffers(good, bit, Equality::kNan));
  Buffer far = good;
  static_cast<uint16_t*>(far.data())[33] = 0;
  EXPECT_FALSE(equal_buffers(good, far, Equality::kNan));
  Buffer before = good;
  static_cast<uint16_t*>(before.data())[-1] = 0;
  EXPECT_FALSE(equal_buffers(good, before, Equality::kNan));
}

}  // namespace
}  // namespace halftone::kern::test
