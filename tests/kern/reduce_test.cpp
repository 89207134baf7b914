// Reductions and the per-channel kernels.
#include "kern/reduce.h"

#include "kern/harness.h"
#include "kern/pointwise.h"

namespace halftone::kern::test {
namespace {

class Reductions : public KernelTest {};

const std::vector<int64_t> kColumns = {0,  1,  3,  8,  15,  16,  17,  31,  32, 33,
                                       48, 64, 65, 80, 128, 130, 144, 256, 300};

TEST_F(Reductions, RowsEqualTheReference) {
  for (const Reduce op :
       {Reduce::kSum, Reduce::kSumSquares, Reduce::kMax, Reduce::kMin, Reduce::kProduct,
        Reduce::kOneZeroProduct, Reduce::kSumAbs, Reduce::kLogSumExp, Reduce::kFirstMax, Reduce::kCountEqual})
    for (const DType dtype : kStorages)
      for (const Values kind : {Values::kPlain, Values::kSpecials})
        for (const int64_t cols : kColumns)
          for (const int64_t rows : {0, 1, 3}) {
            const int64_t stride = cols + 5;
            const Buffer x = values(dtype, rows * stride, static_cast<uint32_t>(cols) + 1, kind);
            expect_equal_everywhere("reduce_rows", Equality::kNan, [&](const Kernels& k) {
              Buffer out(DType::kF32, rows);
              k.reduce_rows({op, dtype, x.data(), rows, cols, stride, out.data()});
              return std::vector<Buffer>{out};
            });
          }
}

// Against double: n - 1 additions and, for squares, one product each, all within 2^-24 of the sum of
// magnitudes.
TEST_F(Reductions, RowsAreRight) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
    const int64_t cols = 1003;
    const Buffer x = values(dtype, cols, 3);
    double sum = 0;
    double magnitudes = 0;
    double squares = 0;
    double largest = -1e300;
    for (int64_t i = 0; i < cols; ++i) {
      sum += x.at(i);
      magnitudes += std::abs(x.at(i));
      squares += x.at(i) * x.at(i);
      largest = std::max(largest, x.at(i));
    }
    const auto reduced = [&](Reduce op) {
      Buffer out(register_type(dtype), 1);
      table(Isa::kReference).reduce_rows({op, dtype, x.data(), 1, cols, cols, out.data()});
      return out.at(0);
    };
    // Every element passes cols / 16 + 4 additions at most.
    const double bound = (cols / 16.0 + 6) * epsilon(register_type(dtype));
    EXPECT_NEAR(reduced(Reduce::kSum), sum, bound * magnitudes);
    EXPECT_NEAR(reduced(Reduce::kSumSquares), squares, bound * squares);
    EXPECT_EQ(reduced(Reduce::kMax), largest);
    EXPECT_NEAR(reduced(Reduce::kSumAbs), magnitudes, bound * magnitudes);
    double smallest = 1e300;
    double exponentials = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < cols; ++i) {
      smallest = std::min(smallest, x.at(i));
      exponentials += std::exp(x.at(i));
      if (x.at(i) > x.at(at)) at = i;
    }
    EXPECT_EQ(reduced(Reduce::kMin), smallest);
    EXPECT_EQ(reduced(Reduce::kFirstMax), static_cast<double>(at));
    const double log_sum = std::log(exponentials);
    EXPECT_NEAR(reduced(Reduce::kLogSumExp), log_sum,
                (bound + 4 * epsilon(register_type(dtype))) * (1 + std::abs(log_sum)));
  }
}

TEST_F(Reductions, ProductsCountZeros) {
  const auto of = [](Reduce op, std::vector<float> x) {
    std::vector<float> out;
    for (const Isa isa : available()) {
      float y = 77;
      table(isa).reduce_rows(
          {op, DType::kF32, x.data(), 1, static_cast<int64_t>(x.size()), static_cast<int64_t>(x.size()), &y});
      out.push_back(y);
    }
    for (const float y : out) EXPECT_EQ(y, out[0]);
    return out[0];
  };
  const std::vector<float> plain(19, 2.0F);
  EXPECT_EQ(of(Reduce::kProduct, plain), 0x1p19F);
  EXPECT_EQ(of(Reduce::kOneZeroProduct, plain), 0);
  EXPECT_EQ(of(Reduce::kCountEqual, plain), 0);
  std::vector<float> one = plain;
  one[17] = -0.0F;
  EXPECT_EQ(of(Reduce::kProduct, one), 0);
  EXPECT_EQ(of(Reduce::kOneZeroProduct, one), 0x1p18F);
  EXPECT_EQ(of(Reduce::kCountEqual, one), 1);
  std::vector<float> two = one;
  two[3] = 0;
  EXPECT_EQ(of(Reduce::kOneZeroProduct, two), 0);
  EXPECT_EQ(of(Reduce::kCountEqual, two), 2);
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(of(Reduce::kLogSumExp, std::vector<float>(20, -inf)), -inf);
  EXPECT_EQ(of(Reduce::kLogSumExp, {1, inf, 2}), inf);
  EXPECT_EQ(of(Reduce::kFirstMax, {1, 3, 3, 2}), 1);
}

// The meaning itself: 16 lanes and the tree. Numbers for which any other order gives another result.
TEST_F(Reductions, OrderIsSixteenLanesAndATree) {
  std::vector<float> x(37);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = std::ldexp(1.0F + static_cast<float>(i) * 0x1p-20F, static_cast<int>(i * 7 % 23));
  float lanes[16] = {};
  for (size_t i = 0; i < x.size(); ++i) lanes[i % 16] += x[i];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  float in_order = 0;
  for (const float v : x) in_order += v;
  ASSERT_NE(lanes[0], in_order) << "these numbers prove nothing";
  for (const Isa isa : available()) {
    float out = 0;
    table(isa).reduce_rows({Reduce::kSum, DType::kF32, x.data(), 1, 37, 37, &out});
    EXPECT_EQ(out, lanes[0]) << name_of(isa);
  }
}

TEST_F(Reductions, NanWinsTheMaximumWhereverItStands) {
  for (const Isa isa : available())
    for (int64_t at = 0; at < 35; ++at) {
      Buffer x = values(DType::kF16, 35, 8);
      x.set(at, std::nan(""));
      float out = 0;
      table(isa).reduce_rows({Reduce::kMax, DType::kF16, x.data(), 1, 35, 35, &out});
      EXPECT_TRUE(std::isnan(out)) << at << " " << name_of(isa);
    }
}

TEST_F(Reductions, ColumnsEqualTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t cols : kColumns)
      for (const int64_t rows : {0, 1, 2, 7, 8, 9, 20}) {
        const int64_t stride = cols + 3;
        const Buffer x = values(dtype, rows * stride, 4, rows == 7 ? Values::kSpecials : Values::kPlain);
        const Buffer old = values(DType::kF32, cols, 5);  // none of which stays
        expect_equal_everywhere("sum_columns", Equality::kNan, [&](const Kernels& k) {
          Buffer out = old;
          k.sum_columns({dtype, x.data(), rows, cols, stride, out.data()});
          return std::vector<Buffer>{out};
        });
      }
}

TEST_F(Reductions, NormEqualsTheReferenceAndSeesWhatIsNotFinite) {
  for (const DType dtype : kStorages)
    for (const int64_t n : lengths())
      for (const Values kind : {Values::kPlain, Values::kSpecials}) {
        const Buffer x = values(dtype, n, static_cast<uint32_t>(n), kind);
        bool all_finite = true;
        double want = 0;
        for (int64_t i = 0; i < n; ++i) {
          all_finite = all_finite && std::isfinite(x.at(i));
          want += x.at(i) * x.at(i);
        }
        expect_equal_everywhere("norm", Equality::kNan, [&](const Kernels& k) {
          Buffer out(DType::kF64, 1);
          bool finite = !all_finite;
          double sum = -1;
          k.norm({dtype, x.data(), n, &sum, &finite});
          EXPECT_EQ(finite, all_finite);
          if (all_finite) {
            EXPECT_NEAR(sum, want, 1e-13 * want);
          }
          out.set(0, sum);
          return std::vector<Buffer>{out};
        });
      }
}

class Channels : public KernelTest {};

TEST_F(Channels, EqualTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t cols : kColumns)
      for (const int64_t rows : {0, 1, 2, 7, 8, 9, 17}) {
        const int64_t n = rows * cols;
        const Values kind = rows == 7 ? Values::kSpecials : Values::kPlain;
        const Buffer x = values(dtype, n, 11, kind);
        const Buffer dy = values(dtype, n, 12, kind);
        const Buffer a = values(DType::kF32, cols, 13);
        const Buffer b = values(DType::kF32, cols, 14);
        const Buffer shift = values(DType::kF32, cols, 15);
        expect_equal_everywhere("channel sums", Equality::kNan, [&](const Kernels& k) {
          Buffer squares = a;
          Buffer plain = a;
          Buffer weighted = b;
          k.squared_deviation({dtype, x.data(), shift.data(), rows, cols, squares.data()});
          k.channel_grad_sums(
              {dtype, dy.data(), x.data(), shift.data(), rows, cols, plain.data(), weighted.data()});
          return std::vector<Buffer>{squares, plain, weighted};
        });
        expect_equal_everywhere("channel affine", Equality::kNan, [&](const Kernels& k) {
          Buffer y(dtype, n);
          k.channel_affine({dtype, x.data(), a.data(), b.data(), y.data(), rows, cols});
          Buffer in_place = x;
          k.channel_affine({dtype, in_place.data(), a.data(), b.data(), in_place.data(), rows, cols});
          EXPECT_TRUE(equal_buffers(y, in_place, Equality::kNan));
          Buffer dx = dy;
          k.channel_affine_pair(
              {dtype, dx.data(), x.data(), a.data(), b.data(), shift.data(), dx.data(), rows, cols});
          return std::vector<Buffer>{y, dx};
        });
      }
}

// Residual, activation and the way back through it: equal everywhere, in place where the contract allows it.
TEST_F(Channels, WithActivationsEqualTheReference) {
  constexpr float kLow = -0.25F;
  constexpr float kHigh = 0.5F;
  for (const DType dtype : kStorages)
    for (const int64_t cols : kColumns)
      for (const int64_t rows : {1, 7, 17})
        for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kClip}) {
          const int64_t n = rows * cols;
          const Values kind = rows == 7 ? Values::kSpecials : Values::kPlain;
          const Buffer x = values(dtype, n, 41, kind);
          const Buffer dy = values(dtype, n, 42, kind);
          const Buffer residual = values(dtype, n, 43, kind);
          const Buffer a = values(DType::kF32, cols, 44);
          const Buffer b = values(DType::kF32, cols, 45);
          const Buffer shift = values(DType::kF32, cols, 46);
          for (const bool second : {false, true}) {  // a residual; the mask from y
            const bool from_y = second && activation == Activation::kRelu;
            const ChannelMask mask{activation, kLow,     kHigh,
                                   a.data(),   b.data(), from_y ? residual.data() : nullptr};
            expect_equal_everywhere("channel activation", Equality::kNan, [&](const Kernels& k) {
              Buffer y = x;
              k.channel_affine({dtype, y.data(), a.data(), b.data(), y.data(), rows, cols,
                                second ? residual.data() : nullptr, activation, kLow, kHigh});
              Buffer plain = a;
              Buffer weighted = b;
              Buffer masked = dy;
              k.channel_grad_sums({dtype, masked.data(), x.data(), shift.data(), rows, cols, plain.data(),
                                   weighted.data(), mask, masked.data()});
              Buffer again = a;
              Buffer too = b;
              k.channel_grad_sums(
                  {dtype, dy.data(), x.data(), shift.data(), rows, cols, again.data(), too.data(), mask});
              EXPECT_TRUE(equal_buffers(plain, again, Equality::kNan));
              EXPECT_TRUE(equal_buffers(weighted, too, Equality::kNan));
              Buffer dx(dtype, n);
              k.channel_affine_pair({dtype, dy.data(), x.data(), a.data(), b.data(), shift.data(), dx.data(),
                                     rows, cols, mask});
              // The same from what was masked before; and over x.
              Buffer same = x;
              k.channel_affine_pair({dtype, masked.data(), same.data(), a.data(), b.data(), shift.data(),
                                     same.data(), rows, cols});
              EXPECT_TRUE(equal_buffers(dx, same, Equality::kNan));
              return std::vector<Buffer>{y, plain, weighted, masked, dx};
            });
          }
        }
}

// What is fused is what the kernels apart give, but for the roundings between them: exact in double.
TEST_F(Channels, FusedActivationsAreThoseOfTheKernelsApart) {
  const int64_t rows = 40;
  const int64_t cols = 24;
  const int64_t n = rows * cols;
  const Kernels& k = table(Isa::kReference);
  const Buffer x = values(DType::kF64, n, 51);
  const Buffer residual = values(DType::kF64, n, 52);
  const Buffer dy = values(DType::kF64, n, 53);
  const Buffer a = values(DType::kF64, cols, 54);
  const Buffer b = values(DType::kF64, cols, 55);
  for (const auto& [activation, unary] :
       {std::pair{Activation::kRelu, Unary::kRelu}, std::pair{Activation::kClip, Unary::kClip}}) {
    Buffer z(DType::kF64, n);
    k.channel_affine({DType::kF64, x.data(), a.data(), b.data(), z.data(), rows, cols});
    Buffer g(DType::kF64, n);
    k.unary_grad({unary, DType::kF64, z.data(), z.data(), dy.data(), g.data(), n, -0.25F, 0.5F});
    Buffer masked(DType::kF64, n);
    Buffer s0(DType::kF64, cols);
    Buffer s1(DType::kF64, cols);
    k.channel_grad_sums({DType::kF64,
                         dy.data(),
                         x.data(),
                         a.data(),
                         rows,
                         cols,
                         s0.data(),
                         s1.data(),
                         {activation, -0.25F, 0.5F, a.data(), b.data(), nullptr},
                         masked.data()});
    EXPECT_TRUE(equal_buffers(masked, g, Equality::kBits));
    int64_t passed = 0;
    for (int64_t i = 0; i < n; ++i) passed += masked.at(i) != 0 ? 1 : 0;
    EXPECT_GT(passed, n / 10);
    EXPECT_LT(passed, n - n / 10);

    Buffer sum(DType::kF64, n);
    k.binary(
        {Binary::kAdd, DType::kF64, z.data(), cols, 1, residual.data(), cols, 1, sum.data(), rows, cols});
    k.unary({unary, DType::kF64, sum.data(), sum.data(), n, -0.25F, 0.5F});
    Buffer y(DType::kF64, n);
    k.channel_affine({DType::kF64, x.data(), a.data(), b.data(), y.data(), rows, cols, residual.data(),
                      activation, -0.25F, 0.5F});
    EXPECT_TRUE(equal_buffers(y, sum, Equality::kBits));
  }
}

TEST_F(Channels, AreRight) {
  const int64_t rows = 50;
  const int64_t cols = 20;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
    const DType reg = register_type(dtype);
    const Kernels& k = table(Isa::kReference);
    const Buffer x = values(dtype, rows * cols, 21);
    const Buffer dy = values(dtype, rows * cols, 22);
    const Buffer a = values(reg, cols, 23);
    const Buffer b = values(reg, cols, 24);
    const Buffer mean = values(reg, cols, 25);
    Buffer y(dtype, rows * cols);
    Buffer dx(dtype, rows * cols);
    Buffer squares(reg, cols);
    Buffer plain(reg, cols);
    Buffer weighted(reg, cols);
    k.channel_affine({dtype, x.data(), a.data(), b.data(), y.data(), rows, cols});
    k.channel_affine_pair(
        {dtype, dy.data(), x.data(), a.data(), b.data(), mean.data(), dx.data(), rows, cols});
    k.squared_deviation({dtype, x.data(), mean.data(), rows, cols, squares.data()});
    k.channel_grad_sums({dtype, dy.data(), x.data(), mean.data(), rows, cols, plain.data(), weighted.data()});
    const double store = 2 * epsilon(dtype) + 4 * epsilon(reg);
    for (int64_t c = 0; c < cols; ++c) {
      double square_sum = 0;
      double sum = 0;
      double sum_magnitudes = 0;
      double product_sum = 0;
      double product_magnitudes = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t i = r * cols + c;
        const double d = x.at(i) - mean.at(c);
        square_sum += d * d;
        sum += dy.at(i);
        sum_magnitudes += std::abs(dy.at(i));
        product_sum += dy.at(i) * d;
        product_magnitudes += std::abs(dy.at(i) * d);
        EXPECT_NEAR(y.at(i), x.at(i) * a.at(c) + b.at(c),
                    store * (std::abs(x.at(i) * a.at(c)) + std::abs(b.at(c))));
        EXPECT_NEAR(
            dx.at(i), dy.at(i) * a.at(c) + x.at(i) * b.at(c) + mean.at(c),
            store * (std::abs(dy.at(i) * a.at(c)) + std::abs(x.at(i) * b.at(c)) + std::abs(mean.at(c))));
      }
      // One rounding for each of the rows' additions, three for a term.
      const double bound = (rows + 3) * epsilon(reg);
      EXPECT_NEAR(squares.at(c), square_sum, bound * square_sum);
      EXPECT_NEAR(plain.at(c), sum, bound * sum_magnitudes);
      EXPECT_NEAR(weighted.at(c), product_sum, bound * product_magnitudes);
    }
  }
}

}  // namespace
}  // namespace halftone::kern::test
