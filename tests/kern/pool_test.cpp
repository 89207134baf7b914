// Pooling: every instruction set equals the reference; the reference against a plain definition in double.
#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Pool : public KernelTest {};

PoolGeometry geometry(int64_t h, int64_t w, int64_t c, int64_t k, int64_t stride, int64_t dilation,
                      int64_t before, int64_t after, bool count_include_pad) {
  const auto out = [&](int64_t size) {
    return (size + before + after - dilation * (k - 1) - 1) / stride + 1;
  };
  return {h,      w,        c,        out(h), out(w), k,     k,     stride,
          stride, dilation, dilation, before, before, after, after, count_include_pad};
}

std::vector<PoolGeometry> geometries(int64_t c) {
  return {geometry(8, 6, c, 2, 2, 1, 0, 0, false), geometry(7, 7, c, 3, 2, 1, 1, 1, false),
          geometry(7, 5, c, 3, 2, 1, 1, 1, true),  geometry(6, 6, c, 3, 1, 2, 2, 2, true),
          geometry(5, 5, c, 3, 2, 1, 0, 2, true),  geometry(4, 4, c, 4, 1, 1, 0, 0, false)};
}

TEST_F(Pool, EqualsTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t c : {1, 3, 16, 17, 40, 64})
      for (const PoolGeometry& g : geometries(c))
        for (const Values kind : {Values::kPlain, Values::kSpecials}) {
          const Buffer x = values(dtype, g.h * g.w * g.c, 1, kind);
          const Buffer dy = values(dtype, g.oh * g.ow * g.c, 2, kind);
          expect_equal_everywhere("pool", Equality::kNan, [&](const Kernels& k) {
            Buffer largest(dtype, dy.size());
            Buffer mean(dtype, dy.size());
            // In two calls, as bands of rows.
            for (const auto& [from, to] : {std::pair<int64_t, int64_t>{0, g.oh / 2}, {g.oh / 2, g.oh}}) {
              k.max_pool({dtype, x.data(), largest.data(), g, from, to});
              k.average_pool({dtype, x.data(), mean.data(), g, from, to});
            }
            Buffer dx_max(dtype, x.size());
            Buffer dx_mean(dtype, x.size());
            Buffer scratch(DType::kF32, x.size());
            k.max_pool_grad({dtype, x.data(), dy.data(), dx_max.data(), scratch.data(), g});
            EXPECT_TRUE(scratch.guards_intact());
            k.average_pool_grad({dtype, nullptr, dy.data(), dx_mean.data(), scratch.data(), g});
            EXPECT_TRUE(scratch.guards_intact());
            return std::vector<Buffer>{largest, mean, dx_max, dx_mean};
          });
        }
}

TEST_F(Pool, IsRight) {
  for (const PoolGeometry& g : geometries(3)) {
    const DType dtype = DType::kF64;
    const Buffer x = values(dtype, g.h * g.w * g.c, 5);
    const Buffer dy = values(dtype, g.oh * g.ow * g.c, 6);
    Buffer largest(dtype, dy.size());
    Buffer mean(dtype, dy.size());
    Buffer dx_max(dtype, x.size());
    Buffer dx_mean(dtype, x.size());
    Buffer scratch(dtype, x.size());
    const Kernels& k = table(Isa::kReference);
    k.max_pool({dtype, x.data(), largest.data(), g, 0, g.oh});
    k.average_pool({dtype, x.data(), mean.data(), g, 0, g.oh});
    k.max_pool_grad({dtype, x.data(), dy.data(), dx_max.data(), scratch.data(), g});
    k.average_pool_grad({dtype, nullptr, dy.data(), dx_mean.data(), scratch.data(), g});
    std::vector<double> want_max(static_cast<size_t>(x.size()));
    std::vector<double> want_mean(static_cast<size_t>(x.size()));
    for (int64_t oh = 0; oh < g.oh; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t c = 0; c < g.c; ++c) {
          const int64_t out = (oh * g.ow + ow) * g.c + c;
          double best = -1e300;
          double sum = 0;
          int64_t winner = -1;
          int count = 0;
          std::vector<int64_t> taps;
          for (int64_t kh = 0; kh < g.kh; ++kh)
            for (int64_t kw = 0; kw < g.kw; ++kw) {
              const int64_t h = oh * g.sh - g.top + kh * g.dh;
              const int64_t w = ow * g.sw - g.left + kw * g.dw;
              const bool inside = h >= 0 && h < g.h && w >= 0 && w < g.w;
              if (inside || (g.count_include_pad && h < g.h + g.bottom && w < g.w + g.right)) ++count;
              if (!inside) continue;
              const int64_t i = (h * g.w + w) * g.c + c;
              taps.push_back(i);
              sum += x.at(i);
              if (x.at(i) > best) {
                best = x.at(i);
                winner = i;
              }
            }
          EXPECT_EQ(largest.at(out), best);
          EXPECT_NEAR(mean.at(out), sum / count, 1e-14);
          want_max[static_cast<size_t>(winner)] += dy.at(out);
          for (const int64_t i : taps) want_mean[static_cast<size_t>(i)] += dy.at(out) / count;
        }
    ASSERT_TRUE(varies(largest) && varies(mean));
    for (int64_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(dx_max.at(i), want_max[static_cast<size_t>(i)], 1e-13);
      EXPECT_NEAR(dx_mean.at(i), want_mean[static_cast<size_t>(i)], 1e-13);
    }
  }
}

TEST_F(Pool, TiesGoToTheFirstTapAndNanWins) {
  const PoolGeometry g = geometry(2, 2, 1, 2, 1, 1, 0, 0, false);
  for (const Isa isa : available()) {
    const std::vector<float> equal = {1, 3, 3, 3};
    const float dy = 5;
    std::vector<float> dx(4, 9);
    std::vector<float> scratch(4);
    table(isa).max_pool_grad({DType::kF32, equal.data(), &dy, dx.data(), scratch.data(), g});
    EXPECT_EQ(dx, (std::vector<float>{0, 5, 0, 0})) << name_of(isa);
    const std::vector<float> nan = {1, std::nanf(""), 7, 3};
    float y = 0;
    table(isa).max_pool({DType::kF32, nan.data(), &y, g, 0, 1});
    EXPECT_TRUE(std::isnan(y)) << name_of(isa);
    table(isa).max_pool_grad({DType::kF32, nan.data(), &dy, dx.data(), scratch.data(), g});
    EXPECT_EQ(dx, (std::vector<float>{0, 5, 0, 0})) << name_of(isa);
  }
}

}  // namespace
}  // namespace halftone::kern::test
