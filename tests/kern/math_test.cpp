// Our exp, log, tanh and the rest against double over (nearly) all fp32 arguments, through the kernels that
// use them: the largest error in ULP is what lane/math.h says.
#include "kern/harness.h"
#include "kern/pointwise.h"

namespace halftone::kern::test {
namespace {

class Math : public KernelTest {};

// |got - want| in units of fp32's last place at `want`; results below 2^-126 count as zero.
double ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e9;
  if (std::abs(want) > 3.40282357e38) return std::isinf(got) && (got > 0) == (want > 0) ? 0 : 1e9;
  const double a = std::abs(want);
  if (a < 0x1p-126) return std::abs(got) <= 0x1p-126F ? 0 : 1e9;
  return std::abs(double{got} - want) / std::ldexp(1.0, std::ilogb(a) - 23);
}

struct Worst {
  double ulps = 0;
  float at = 0;
};
// Every `step`-th float between from and to (same sign), and the ends.
Worst worst_error(Unary op, float from, float to, uint32_t step, const std::function<double(double)>& f) {
  const uint32_t a = __builtin_bit_cast(uint32_t, from);
  const uint32_t b = __builtin_bit_cast(uint32_t, to);
  constexpr int64_t kBatch = 4096;
  std::vector<float> x(kBatch);
  std::vector<float> y(kBatch);
  Worst worst;
  uint64_t u = std::min(a, b);
  const uint64_t last = std::max(a, b);
  while (u <= last) {
    int64_t n = 0;
    for (; n < kBatch && u <= last; ++n, u += step) {
      x[static_cast<size_t>(n)] = __builtin_bit_cast(float, static_cast<uint32_t>(u));
    }
    table(available().back()).unary({op, DType::kF32, x.data(), y.data(), n, 1.7F, 0});
    for (int64_t i = 0; i < n; ++i) {
      const double error = ulps(y[static_cast<size_t>(i)], f(double{x[static_cast<size_t>(i)]}));
      if (error > worst.ulps) worst = {error, x[static_cast<size_t>(i)]};
    }
  }
  return worst;
}

constexpr float kTiny = 0x1p-126F;

struct Claim {
  const char* name;
  Unary op;
  double bound;  // ULP, as lane/math.h states
  float low, high;
  bool negative;
  std::function<double(double)> f;
};

TEST_F(Math, LargestErrorsAreThoseOfTheHeader) {
  const std::vector<Claim> claims = {
      {"exp", Unary::kExp, 1.1, kTiny, 89, false, [](double x) { return std::exp(x); }},
      {"exp(-)", Unary::kExp, 1.1, kTiny, 87.33F, true, [](double x) { return std::exp(x); }},
      {"log", Unary::kLog, 1, kTiny, 3.4e38F, false, [](double x) { return std::log(x); }},
      {"sigmoid", Unary::kSigmoid, 3, kTiny, 100, false, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"sigmoid(-)", Unary::kSigmoid, 3, kTiny, 87, true, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"softplus", Unary::kSoftplus, 2, kTiny, 1e6F, false,
       [](double x) { return x > 40 ? x : std::log1p(std::exp(x)); }},
      {"softplus(-)", Unary::kSoftplus, 2, kTiny, 87, true, [](double x) { return std::log1p(std::exp(x)); }},
      {"tanh", Unary::kTanh, 3, kTiny, 20, false, [](double x) { return std::tanh(x); }},
      {"erf", Unary::kErf, 2, kTiny, 10, false, [](double x) { return std::erf(x); }},
      {"elu", Unary::kElu, 3, kTiny, 100, true, [](double x) { return double{1.7F} * std::expm1(x); }},
      {"pow 1.7", Unary::kPowScalar, 3, kTiny, 3.4e38F, false,
       [](double x) { return std::pow(x, double{1.7F}); }},
      {"sin", Unary::kSin, 2, kTiny, 3.4e38F, false, [](double x) { return std::sin(x); }},
      {"sin(-)", Unary::kSin, 2, kTiny, 3.4e38F, true, [](double x) { return std::sin(x); }},
      {"cos", Unary::kCos, 2, kTiny, 3.4e38F, false, [](double x) { return std::cos(x); }},
      {"tan", Unary::kTan, 4, kTiny, 3.4e38F, false, [](double x) { return std::tan(x); }},
      {"asin", Unary::kAsin, 2, kTiny, 1, false, [](double x) { return std::asin(x); }},
      {"acos", Unary::kAcos, 2, kTiny, 1, false, [](double x) { return std::acos(x); }},
      {"acos(-)", Unary::kAcos, 2, kTiny, 1, true, [](double x) { return std::acos(x); }},
      {"atan", Unary::kAtan, 3, kTiny, 3.4e38F, false, [](double x) { return std::atan(x); }},
      {"sinh", Unary::kSinh, 4, kTiny, 90, false, [](double x) { return std::sinh(x); }},
      {"cosh", Unary::kCosh, 4, kTiny, 90, false, [](double x) { return std::cosh(x); }},
      {"asinh", Unary::kAsinh, 4, kTiny, 3.4e38F, false, [](double x) { return std::asinh(x); }},
      {"acosh", Unary::kAcosh, 4, 1, 3.4e38F, false, [](double x) { return std::acosh(x); }},
      {"atanh", Unary::kAtanh, 4, kTiny, 1, false, [](double x) { return std::atanh(x); }},
  };
  // A prime step reaches every pattern of low bits: some 1700 arguments of each power of two.
  // HALFTONE_MATH_STEP=1 takes every float (minutes) and prints the errors found.
  const char* given = std::getenv("HALFTONE_MATH_STEP");
  const uint32_t step = given != nullptr ? static_cast<uint32_t>(std::atoi(given)) : 4999;
  for (const Claim& c : claims) {
    const float sign = c.negative ? -1.0F : 1.0F;
    const Worst worst = worst_error(c.op, sign * c.low, sign * c.high, step, c.f);
    EXPECT_LE(worst.ulps, c.bound) << c.name << " at " << worst.at;
    EXPECT_GT(worst.ulps, 0.3) << c.name << ": too good to have been measured";
    if (given != nullptr) printf("%s: %.3f ULP at %.9g\n", c.name, worst.ulps, double{worst.at});
  }
}

TEST_F(Math, PowIsRightOverBothArguments) {
  std::mt19937 engine(5);
  const int64_t n = 400000;
  std::vector<float> x;
  std::vector<float> y;
  // Bases over all exponents; exponents such that the result spreads over the whole range, and bases near 1
  // with large exponents.
  std::uniform_real_distribution<double> unit(-1, 1);
  for (int64_t i = 0; i < n; ++i) {
    const double base = i % 2 == 0 ? std::exp(80 * unit(engine)) : 1 + 0.01 * unit(engine);
    x.push_back(static_cast<float>(base));
    y.push_back(static_cast<float>(86 * unit(engine) / std::log(base)));
  }
  std::vector<float> z(x.size());
  table(available().back())
      .binary({Binary::kPow, DType::kF32, x.data(), n, 1, y.data(), n, 1, z.data(), 1, n});
  Worst worst;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(z[i], std::pow(double{x[i]}, double{y[i]}));
    if (error > worst.ulps) worst = {error, x[i]};
  }
  EXPECT_LE(worst.ulps, 3) << worst.at;
  EXPECT_GT(worst.ulps, 0.3);
}

TEST_F(Math, SpecialCasesArePowsOfC) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> all = {0.0F,  -0.0F,       1,           -1,   2,     -2,    0.5F,
                                  -0.5F, 3,           -3,          2.5F, -2.5F, inf,   -inf,
                                  nan,   16777217.0F, 16777216.0F, -7,   1e30F, -1e30F};
  for (const Isa isa : available())
    for (const float x : all)
      for (const float y : all) {
        float z = 0;
        table(isa).binary({Binary::kPow, DType::kF32, &x, 1, 1, &y, 1, 1, &z, 1, 1});
        const float want = std::pow(x, y);
        if (std::isnan(want)) {
          EXPECT_TRUE(std::isnan(z)) << x << "^" << y << " " << name_of(isa);
        } else if (std::isinf(want) || want == 0) {
          EXPECT_EQ(z, want) << x << "^" << y << " " << name_of(isa);
          EXPECT_EQ(std::signbit(z), std::signbit(want)) << x << "^" << y << " " << name_of(isa);
        } else {
          EXPECT_LE(ulps(z, std::pow(double{x}, double{y})), 3) << x << "^" << y << " " << name_of(isa);
        }
      }
}

TEST_F(Math, EdgesAreAsDocumented) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto at = [](Unary op, float x) {
    float y = 77;
    table(Isa::kReference).unary({op, DType::kF32, &x, &y, 1, 1, 0});
    for (const Isa isa : available()) {
      float z = 78;
      table(isa).unary({op, DType::kF32, &x, &z, 1, 1, 0});
      EXPECT_TRUE(__builtin_bit_cast(uint32_t, y) == __builtin_bit_cast(uint32_t, z))
          << x << " " << name_of(isa);
    }
    return y;
  };
  EXPECT_EQ(at(Unary::kExp, 0), 1);
  EXPECT_EQ(at(Unary::kExp, inf), inf);
  EXPECT_EQ(at(Unary::kExp, -inf), 0);
  EXPECT_EQ(at(Unary::kExp, 88.73F), inf);
  EXPECT_LT(at(Unary::kExp, 88.722F), inf);
  EXPECT_EQ(at(Unary::kExp, -87.34F), 0);
  EXPECT_GT(at(Unary::kExp, -87.33F), 0);
  EXPECT_EQ(at(Unary::kLog, 1), 0);
  EXPECT_EQ(at(Unary::kLog, 0), -inf);
  EXPECT_EQ(at(Unary::kLog, 1e-39F), -inf);
  EXPECT_TRUE(std::isnan(at(Unary::kLog, -1)));
  EXPECT_TRUE(std::isnan(at(Unary::kLog, -inf)));
  EXPECT_EQ(at(Unary::kLog, inf), inf);
  EXPECT_EQ(at(Unary::kSigmoid, inf), 1);
  EXPECT_EQ(at(Unary::kSigmoid, -inf), 0);
  EXPECT_EQ(at(Unary::kSigmoid, 0), 0.5F);
  EXPECT_EQ(at(Unary::kTanh, inf), 1);
  EXPECT_EQ(at(Unary::kTanh, -inf), -1);
  EXPECT_TRUE(std::signbit(at(Unary::kTanh, -0.0F)));
  EXPECT_EQ(at(Unary::kErf, inf), 1);
  EXPECT_TRUE(std::signbit(at(Unary::kErf, -0.0F)));
  EXPECT_EQ(at(Unary::kSoftplus, inf), inf);
  EXPECT_EQ(at(Unary::kSoftplus, -inf), 0);
  EXPECT_EQ(at(Unary::kElu, -inf), -1);
  for (const Unary op : {Unary::kSin, Unary::kTan, Unary::kAsin, Unary::kAtan, Unary::kSinh, Unary::kAsinh,
                         Unary::kAtanh, Unary::kSoftsign, Unary::kSign, Unary::kRound, Unary::kCeil})
    EXPECT_TRUE(std::signbit(at(op, -0.0F)) && at(op, -0.0F) == 0) << static_cast<int>(op);
  for (const Unary op : {Unary::kSin, Unary::kCos, Unary::kTan, Unary::kAsin, Unary::kAcos, Unary::kAtanh})
    EXPECT_TRUE(std::isnan(at(op, inf)) && std::isnan(at(op, -inf))) << static_cast<int>(op);
  EXPECT_EQ(at(Unary::kCos, 0), 1);
  EXPECT_EQ(at(Unary::kAtanh, 1), inf);
  EXPECT_EQ(at(Unary::kSinh, -inf), -inf);
  EXPECT_EQ(at(Unary::kCosh, -inf), inf);
  EXPECT_EQ(at(Unary::kAsinh, inf), inf);
  EXPECT_EQ(at(Unary::kAcosh, 1), 0);
  EXPECT_TRUE(std::isnan(at(Unary::kAcosh, 0.5F)));
  EXPECT_EQ(at(Unary::kCelu, -inf), -1);
  EXPECT_EQ(at(Unary::kMish, inf), inf);
  EXPECT_EQ(at(Unary::kFloor, -0.5F), -1);
  EXPECT_EQ(at(Unary::kCeil, 0.5F), 1);
  EXPECT_EQ(at(Unary::kRound, 2.5F), 2);
  EXPECT_EQ(at(Unary::kRound, -3.5F), -4);
  for (int op = 0; op <= static_cast<int>(Unary::kRound); ++op)
    EXPECT_TRUE(std::isnan(at(static_cast<Unary>(op), std::numeric_limits<float>::quiet_NaN()))) << op;
}

// Angles beyond where one product in fp32 counts the quarter turns, and the hardest ones: nearest to a
// multiple of pi / 2.
TEST_F(Math, SineKnowsEveryQuarterTurn) {
  std::vector<float> all = {0x1p17F,     131073.5F, 1e10F,   3.4028235e38F, 16367173.0F * 0x1p72F,
                            13176795.0F, 1e20F,     6367.7F, 710.0F,        4095.5F,
                            51819.74F};
  for (int e = 10; e < 127; ++e)
    for (int k = 0; k < 20; ++k)
      all.push_back(std::ldexp(1.0F + static_cast<float>(k * k + 7) * 0x1p-12F, e));
  for (const Isa isa : available())
    for (const float magnitude : all)
      for (const float x : {magnitude, -magnitude}) {
        float y[3];
        const Unary ops[3] = {Unary::kSin, Unary::kCos, Unary::kTan};
        for (int i = 0; i < 3; ++i) table(isa).unary({ops[i], DType::kF32, &x, &y[i], 1, 0, 0});
        EXPECT_LE(ulps(y[0], std::sin(double{x})), 2) << x << " " << name_of(isa);
        EXPECT_LE(ulps(y[1], std::cos(double{x})), 2) << x << " " << name_of(isa);
        EXPECT_LE(ulps(y[2], std::tan(double{x})), 4) << x << " " << name_of(isa);
      }
}

}  // namespace
}  // namespace halftone::kern::test
