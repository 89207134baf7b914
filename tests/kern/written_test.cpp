// MatrixKernels::written and scales_stage: what lets a product go hand in hand with its neighbours
// (ops/row_listener.h).
#include <gtest/gtest.h>

#include "kern/dispatch.h"
#include "kern/kernels.h"
#include "kern/product_cases.h"

namespace halftone::kern::test {
namespace {

std::vector<Product> convolutions() {
  std::vector<Product> list;
  std::vector<ConvGeometry> geometries = conv_cases();
  const std::vector<ConvGeometry> blocked = blocked_conv_cases();
  geometries.insert(geometries.end(), blocked.begin(), blocked.end());
  for (const auto& [dtype, multiply] :
       {std::pair{DType::kF16, Multiply::kBlock}, std::pair{DType::kF16, Multiply::kHalf},
        std::pair{DType::kF32, Multiply::kWide}})
    for (const ConvGeometry& g : geometries)
      for (const ProductKind kind : {ProductKind::kConv, ProductKind::kConvGradInput})
        list.push_back(conv_product(kind, dtype, multiply, false, g));
  // Rows that are cut into pieces, and images into bands, also with strides.
  for (const int64_t stride : {1, 2})
    for (const int64_t channels : {3, 32}) {
      ConvGeometry g{};
      g.n = 2, g.h = 9, g.w = 700, g.c = channels, g.o = 17;
      g.kh = g.kw = 3, g.sh = g.sw = stride, g.dh = g.dw = 1, g.top = g.left = 1, g.group = 1;
      g.oh = (g.h - 1) / stride + 1, g.ow = (g.w - 1) / stride + 1;
      for (const ProductKind kind : {ProductKind::kConv, ProductKind::kConvGradInput})
        list.push_back(conv_product(kind, DType::kF16, Multiply::kBlock, false, g));
    }
  return list;
}

// Memory of a product's run, prepared up to its last stage.
struct Prepared {
  const MatrixKernels& kernels;
  ProductPlan plan{};
  std::vector<std::byte> y;
  std::byte* scratch;
  ProductOperands operands;
  Prepared(const MatrixKernels& k, const Product& p, const Operands& x, int threads) : kernels(k) {
    plan.product = p;
    plan.threads = threads;
    kernels.plan(plan);
    scratch = static_cast<std::byte*>(
        std::aligned_alloc(64, static_cast<size_t>(plan.scratch_bytes + 63) / 64 * 64 + 64));
    y.assign(static_cast<size_t>(sizes_of(p).y * size_bytes(p.dtype)), std::byte{0xFF});  // NaN in every type
    operands = {x.a.data(), x.b.data(), x.bias.data(), y.data(), scratch};
  }
  ~Prepared() { std::free(scratch); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  void stage(int i) {
    for (int64_t chunk = 0; chunk < plan.chunks[i]; ++chunk) kernels.run(plan, operands, i, chunk, 0);
  }
};

TEST(Written, IsWhatAChunkWrites) {
  for (const Product& p : convolutions()) {
    const ConvGeometry& g = p.conv;
    const bool forward = p.kind == ProductKind::kConv;
    const int64_t channels = forward ? g.o : g.c;
    const int64_t pixels = sizes_of(p).y / channels;
    const size_t width = static_cast<size_t>(size_bytes(p.dtype));
    const Operands x = random_operands(p, 3);
    for (const Delivery& d : deliveries(p)) {
      for (const int threads : {1, 3}) {
        SCOPED_TRACE(describe(p) + " " + d.name + " " + std::to_string(threads) + " threads");
        Prepared r(d.kernels, p, x, threads);
        const int last = r.plan.stages - 1;
        for (int stage = 0; stage < last; ++stage) r.stage(stage);
        std::vector<int64_t> said(static_cast<size_t>(pixels));
        std::vector<int64_t> seen(static_cast<size_t>(pixels));
        for (int64_t chunk = 0; chunk < r.plan.chunks[last]; ++chunk) {
          const Written w = r.kernels.written(r.plan, chunk);
          std::vector<bool> here(static_cast<size_t>(pixels));
          for (int64_t i = 0; i < w.runs; ++i)
            for (int64_t pixel = w.first + i * w.step; pixel < w.first + i * w.step + w.pixels; ++pixel) {
              ASSERT_TRUE(pixel >= 0 && pixel < pixels);
              here[static_cast<size_t>(pixel)] = true;
              said[static_cast<size_t>(pixel)] += w.channels;
            }
          const std::vector<std::byte> before = r.y;
          r.kernels.run(r.plan, r.operands, last, chunk, 0);
          for (size_t pixel = 0; pixel < static_cast<size_t>(pixels); ++pixel)
            for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
              const size_t at = (pixel * static_cast<size_t>(channels) + c) * width;
              if (std::memcmp(before.data() + at, r.y.data() + at, width) == 0) continue;
              ++seen[pixel];
              ASSERT_TRUE(here[pixel]) << "chunk " << chunk << " writes pixel " << pixel;
            }
        }
        EXPECT_EQ(said, std::vector<int64_t>(static_cast<size_t>(pixels), channels));
        EXPECT_EQ(seen, said);  // every result is a number
      }
    }
  }
}

TEST(ScalesStage, NeedsNothingOfTheStagesBefore) {
  int64_t tried = 0;
  for (const Product& p : convolutions()) {
    const Operands x = random_operands(p, 4);
    for (const Delivery& d : deliveries(p)) {
      Prepared first(d.kernels, p, x, 1);
      const int scales = first.plan.scales_stage;
      if (scales < 0) continue;
      ++tried;
      EXPECT_EQ(first.plan.chunks[scales], p.conv.n * p.conv.group);
      first.stage(scales);
      for (int stage = 0; stage < first.plan.stages; ++stage)
        if (stage != scales) first.stage(stage);
      EXPECT_EQ(first.y, run(d.kernels, p, x)) << describe(p) << " " << d.name;
    }
  }
  EXPECT_TRUE(tried > 0 || available().size() == 1);
}

}  // namespace
}  // namespace halftone::kern::test
