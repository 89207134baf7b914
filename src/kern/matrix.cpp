#include "kern/matrix.h"

#include <algorithm>

namespace halftone::kern {
namespace {

constexpr int64_t kChunkTerms = 128;  // 4095 * 4095 * 128 < 2^31
// Chains of a weight gradient: enough for eight threads without splitting outputs, little enough that adding
// them stays cheap.
constexpr int64_t kMaxImageGroups = 8;
constexpr int64_t kMaxGroupElements = int64_t{1} << 22;  // 16 MiB of fp32 sums

int64_t even(int64_t x) {
  return (x + 1) / 2 * 2;
}

Multiply policy_for(DType dtype, Multiply wanted) {
  const bool possible = wanted == Multiply::kHalf ? dtype == DType::kF16 : is_16bit(dtype);
  return possible ? wanted : Multiply::kWide;
}

}  // namespace

Product conv_product(ProductKind kind, DType dtype, Multiply multiply, bool has_bias,
                     const ConvGeometry& geometry) {
  Product p{};
  p.kind = kind;
  p.dtype = dtype;
  p.has_bias = has_bias;
  p.conv = geometry;
  ConvGeometry& g = p.conv;
  const bool depthwise = g.group > 1 && g.c == g.group;
  p.multiply = depthwise ? Multiply::kWide : policy_for(dtype, multiply);
  if (g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && g.top == 0 && g.left == 0 && g.oh == g.h &&
      g.ow == g.w) {
    g.ow = g.w = g.h * g.w;
    g.oh = g.h = 1;
  }
  const int64_t width = even(g.ow);
  const int64_t pixels = g.oh * width;
  p.block_images = std::clamp(kChunkTerms / pixels, int64_t{1}, g.n);
  p.chunk_rows = kChunkTerms / width;
  const int64_t blocks = (g.n + p.block_images - 1) / p.block_images;
  const int64_t outputs = g.o * g.kh * g.kw * (g.c / g.group);
  p.image_groups = std::max<int64_t>(1, std::min({kMaxImageGroups, blocks, kMaxGroupElements / outputs}));
  return p;
}

Product matmul_product(DType dtype, Multiply multiply, bool has_bias, const MatMulGeometry& geometry) {
  Product p{};
  p.kind = ProductKind::kMatMul;
  p.dtype = dtype;
  p.multiply = policy_for(dtype, multiply);
  p.has_bias = has_bias;
  p.matmul = geometry;
  return p;
}

}  // namespace halftone::kern
