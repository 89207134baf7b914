// Weighted sums of rows and GridSample: every instruction set equals the reference; the reference against
// plain definitions.
#include "kern/sampling.h"

#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Sampling : public KernelTest {};

struct Table {
  std::vector<int64_t> offsets, indices;
  std::vector<float> weights;
};
// Rows with no, one and several taps of n elements.
Table table_of(int64_t rows, int64_t n) {
  Table t{{0}, {}, {}};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < r % 5; ++k) {
      t.indices.push_back((r * 7 + k * 3) % n);
      t.weights.push_back(r % 5 == 1 ? 1.0F : 0.375F * static_cast<float>(k) - 0.6F);
    }
    t.offsets.push_back(static_cast<int64_t>(t.indices.size()));
  }
  return t;
}

TEST_F(Sampling, WeightedRowsEqualTheReference) {
  const int64_t n = 6;
  const int64_t rows = 11;
  const Table t = table_of(rows, n);
  for (const DType storage : kStorages)
    for (const auto& types : {std::pair{storage, storage}, {storage, DType::kF32}, {DType::kF32, storage}})
      for (const int64_t inner : {1, 3, 4, 15, 16, 17, 40})
        for (const Values kind : {Values::kPlain, Values::kSpecials}) {
          const DType from = types.first;
          const DType to = types.second;
          const Buffer x = values(from, n * inner, 3, kind);
          expect_equal_everywhere("weighted_rows", Equality::kNan, [&](const Kernels& k) {
            Buffer y(to, rows * inner);
            k.sampling->weighted_rows({from, x.data(), to, y.data(), t.offsets.data(), t.indices.data(),
                                       t.weights.data(), rows, inner});
            return std::vector<Buffer>{y};
          });
        }
}

TEST_F(Sampling, WeightedRowsAreSums) {
  const Table t = table_of(9, 4);
  const std::vector<double> weights(t.weights.begin(), t.weights.end());
  const Buffer x = values(DType::kF64, 4 * 3, 1);
  Buffer y(DType::kF64, 9 * 3);
  table(Isa::kReference)
      .sampling->weighted_rows({DType::kF64, x.data(), DType::kF64, y.data(), t.offsets.data(),
                                t.indices.data(), weights.data(), 9, 3});
  ASSERT_TRUE(y.guards_intact() && varies(y));
  for (int64_t r = 0; r < 9; ++r)
    for (int64_t i = 0; i < 3; ++i) {
      double sum = 0;
      for (int64_t k = t.offsets[static_cast<size_t>(r)]; k < t.offsets[static_cast<size_t>(r) + 1]; ++k)
        sum += weights[static_cast<size_t>(k)] * x.at(t.indices[static_cast<size_t>(k)] * 3 + i);
      EXPECT_NEAR(y.at(r * 3 + i), sum, 1e-14);
    }
}

TEST_F(Sampling, GridSampleEqualsTheReference) {
  for (const DType dtype : kStorages)
    for (const GridMode mode : {GridMode::kLinear, GridMode::kNearest, GridMode::kCubic})
      for (const GridPadding padding : {GridPadding::kZeros, GridPadding::kBorder, GridPadding::kReflection})
        for (const bool align : {false, true})
          for (const int64_t c : {2, 5, 16, 21}) {
            const GridGeometry g{4, 5, c, 13, mode, padding, align};
            const Buffer x = values(dtype, g.h * g.w * g.c, 1);
            const Buffer grid = values(dtype, g.pixels * 2, 2, c == 5 ? Values::kSpecials : Values::kPlain);
            const Buffer dy = values(dtype, g.pixels * g.c, 3);
            expect_equal_everywhere("grid_sample", Equality::kNan, [&](const Kernels& k) {
              Buffer y(dtype, g.pixels * g.c);
              Buffer dgrid(dtype, g.pixels * 2);
              for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 6}, {6, g.pixels}}) {
                k.sampling->grid_sample({dtype, x.data(), grid.data(), y.data(), g, first, last});
                k.sampling->grid_sample_grid_grad(
                    {dtype, x.data(), grid.data(), dy.data(), dgrid.data(), g, first, last});
              }
              Buffer dx(dtype, x.size());
              Buffer scratch(DType::kF32, x.size());
              k.sampling->grid_sample_grad({dtype, grid.data(), dy.data(), dx.data(), scratch.data(), g});
              EXPECT_TRUE(scratch.guards_intact() && varies(y) && varies(dx));
              return std::vector<Buffer>{y, dx, dgrid};
            });
          }
}

TEST_F(Sampling, GridSampleReadsWhereTheGridSays) {
  // A row of 4 pixels, values 10, 20, 30, 40.
  const std::vector<float> x = {10, 20, 30, 40};
  const auto at = [&](float place, GridMode mode, GridPadding padding, bool align) {
    const std::vector<float> grid = {place, 0};
    float y = -1;
    const GridGeometry g{1, 4, 1, 1, mode, padding, align};
    for (const Isa isa : available())
      table(isa).sampling->grid_sample({DType::kF32, x.data(), grid.data(), &y, g, 0, 1});
    return y;
  };
  EXPECT_EQ(at(-1, GridMode::kLinear, GridPadding::kZeros, true), 10);
  EXPECT_EQ(at(-1, GridMode::kLinear, GridPadding::kZeros, false), 5);  // half a pixel outside
  EXPECT_EQ(at(-1, GridMode::kLinear, GridPadding::kBorder, false), 10);
  EXPECT_EQ(at(0, GridMode::kLinear, GridPadding::kZeros, true), 25);
  EXPECT_EQ(at(0.9F, GridMode::kNearest, GridPadding::kZeros, true), 40);
  EXPECT_EQ(at(3, GridMode::kNearest, GridPadding::kZeros, true), 0);
  EXPECT_EQ(at(3, GridMode::kNearest, GridPadding::kReflection, true), 10);  // 6 is mirrored to 0
  EXPECT_EQ(at(1 + 2 / 3.0F, GridMode::kNearest, GridPadding::kReflection, true), 30);
  EXPECT_TRUE(
      std::isnan(at(std::numeric_limits<float>::infinity(), GridMode::kLinear, GridPadding::kBorder, true)));
}

}  // namespace
}  // namespace halftone::kern::test
