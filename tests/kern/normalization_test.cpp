// Rows normalised by their own mean and size, and local response normalization.
#include "kern/normalization.h"

#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Normalizations : public KernelTest {};

const std::vector<int64_t> kColumns = {1, 2, 3, 15, 16, 17, 32, 33, 100, 16384, 16390, 32771};
const std::vector<Normalization> kKinds = {Normalization::kLayer, Normalization::kRms, Normalization::kL1};

Spread spread(int which, int64_t cols) {
  Spread s;
  s.factor = which == 2 ? 1 : 1.0 / static_cast<double>(cols);
  s.epsilon = which == 0 ? 1e-5 : 0;
  s.floor = which == 2 ? 1e-3 : 0;
  s.outside = which == 1 ? 1e-2 : 0;
  s.zero_stays = which == 3;
  return s;
}

TEST_F(Normalizations, EqualTheReference) {
  for (const Normalization kind : kKinds)
    for (const DType dtype : kStorages)
      for (const int64_t cols : kColumns)
        for (const Values v : {Values::kPlain, Values::kSpecials})
          for (int which = 0; which < 4; ++which) {
            if (cols > 1000 && which > 0) continue;
            const int64_t rows = 3;
            const Spread s = spread(which, cols);
            Buffer x = values(dtype, rows * cols, static_cast<uint32_t>(cols), v, 4);
            for (int64_t c = 0; c < cols && which == 3; ++c) x.set(cols + c, 0);
            const Buffer dy = values(dtype, rows * cols, 7, v);
            const Buffer scale = values(dtype, cols, 9);
            const Buffer bias = values(dtype, cols, 10);
            expect_equal_everywhere("normalize", Equality::kNan, [&](const Kernels& k) {
              Buffer y = x;  // in place
              Buffer mean(DType::kF32, rows);
              Buffer size(DType::kF32, rows);
              const void* a = which % 2 == 0 ? scale.data() : nullptr;
              const void* b = which < 2 ? bias.data() : nullptr;
              k.normalization->normalize(
                  {kind, dtype, y.data(), a, b, y.data(), rows, cols, s, mean.data(), size.data()});
              Buffer dx = dy;  // in place
              Buffer sums(DType::kF32, 2 * cols);
              float* sum = static_cast<float*>(sums.data());
              const void* m = kind == Normalization::kLayer ? mean.data() : nullptr;
              k.normalization->normalize_grad({kind, dtype, dx.data(), x.data(), a, m, size.data(), dx.data(),
                                               rows, cols, s, sum, sum + cols});
              Buffer alone(DType::kF32, 2 * cols);
              sum = static_cast<float*>(alone.data());
              k.normalization->normalize_grad_columns(
                  {dtype, dy.data(), x.data(), m, size.data(), rows, cols, cols, s, sum, sum + cols});
              EXPECT_EQ(sums.guards_intact() && alone.guards_intact(), true);
              EXPECT_TRUE(equal_buffers(sums, alone, Equality::kNan));
              return std::vector<Buffer>{y, mean, size, dx, sums};
            });
          }
}

// Against double, from what is stored.
TEST_F(Normalizations, AreRight) {
  const int64_t rows = 3;
  const int64_t cols = 37;
  for (const Normalization kind : kKinds)
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
      const Spread s = spread(0, cols);
      const Buffer x = values(dtype, rows * cols, 1, Values::kPlain, 3);
      const Buffer scale = values(dtype, cols, 2);
      const Buffer bias = values(dtype, cols, 3);
      Buffer y(dtype, rows * cols);
      Buffer mean(register_type(dtype), rows);
      Buffer size(register_type(dtype), rows);
      table(Isa::kReference)
          .normalization->normalize({kind, dtype, x.data(), scale.data(), bias.data(), y.data(), rows, cols,
                                     s, mean.data(), size.data()});
      ASSERT_TRUE(varies(y));
      for (int64_t r = 0; r < rows; ++r) {
        double m = 0;
        double t = 0;
        for (int64_t c = 0; c < cols; ++c) m += kind == Normalization::kLayer ? x.at(r * cols + c) / cols : 0;
        for (int64_t c = 0; c < cols; ++c) {
          const double d = x.at(r * cols + c) - m;
          t += kind == Normalization::kL1 ? std::abs(d) : d * d;
        }
        const double spread = kind == Normalization::kL1 ? t : std::sqrt(t / cols + 1e-5);
        const double u = epsilon(register_type(dtype));
        EXPECT_NEAR(mean.at(r), m, 16 * u * 3);
        EXPECT_NEAR(size.at(r), spread, 16 * u * spread);
        for (int64_t c = 0; c < cols; ++c) {
          const double xhat = (x.at(r * cols + c) - m) / spread;
          const double want = xhat * scale.at(c) + bias.at(c);
          const double bound =
              epsilon(dtype) * std::abs(want) + smallest_normal(dtype) * epsilon(dtype) +
              32 * u * (std::abs(xhat * scale.at(c)) + std::abs(bias.at(c)) + std::abs(scale.at(c)));
          EXPECT_NEAR(y.at(r * cols + c), want, bound);
        }
      }
    }
}

TEST_F(Normalizations, LocalResponseEqualsTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t cols : {1, 2, 5, 15, 16, 17, 33, 100})
      for (const int64_t size : {1, 2, 5, 9})
        for (const Values v : {Values::kPlain, Values::kSpecials}) {
          const int64_t rows = 3;
          const Buffer x = values(dtype, rows * cols, static_cast<uint32_t>(cols), v, 2);
          const Buffer dy = values(dtype, rows * cols, 7, v);
          const int64_t before = std::min((size - 1) / 2, cols - 1);
          const int64_t after = std::min(size / 2, cols - 1);
          expect_equal_everywhere("lrn", Equality::kNan, [&](const Kernels& k) {
            Buffer scratch(DType::kF32, 3 * (cols + before + after));
            Buffer y = x;  // in place
            k.normalization->lrn({dtype, y.data(), nullptr, y.data(), rows, cols, before, after, 0.1, 0.75, 1,
                                  scratch.data()});
            Buffer dx = dy;
            k.normalization->lrn_grad({dtype, x.data(), dx.data(), dx.data(), rows, cols, before, after, 0.1,
                                       0.75, 1, scratch.data()});
            EXPECT_TRUE(scratch.guards_intact());
            return std::vector<Buffer>{y, dx};
          });
        }
}

}  // namespace
}  // namespace halftone::kern::test
