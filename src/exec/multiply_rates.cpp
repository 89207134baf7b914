#include "exec/multiply_rates.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/clock.h"
#include "base/cpu_time.h"
#include "num/half.h"
#include "par/pool.h"
#include "tensor/tensor.h"

namespace halftone::exec {
namespace {

using kern::Multiply;
using kern::Product;
using kern::ProductKind;

constexpr int64_t kMostProducts = 9;  // the three products of three convolutions
// Multiply-adds of one try: short, so that several fit between two disturbances. But packing the weights
// mustn't count for more than it does in the network.
constexpr int64_t kTerms = 40'000'000;
constexpr int64_t kTermsPerWeight = 64;
constexpr int kLeastRounds = 3;  // the first one touches new memory and doesn't count

int64_t batch_of(const kern::MatMulGeometry& g) {
  int64_t count = 1;
  for (int d = 0; d < g.batch_rank; ++d) count *= g.batch[d];
  return count;
}

int64_t multiply_adds(const Product& p) {
  if (p.kind == ProductKind::kMatMul) return batch_of(p.matmul) * p.matmul.m * p.matmul.k * p.matmul.n;
  const kern::ConvGeometry& g = p.conv;
  return g.n * g.oh * g.ow * g.o * g.kh * g.kw * (g.c / g.group);
}

// What makes two products the same work. The kind is last, so that a convolution's three stand together.
std::vector<int64_t> key_of(const Product& p) {
  std::vector<int64_t> key;
  if (p.kind == ProductKind::kMatMul) {
    const kern::MatMulGeometry& g = p.matmul;
    key = {batch_of(g), g.m, g.k, g.n, g.trans_a ? 1 : 0, g.trans_b ? 1 : 0};
  } else {
    const kern::ConvGeometry& g = p.conv;
    key = {g.n, g.h, g.w, g.c, g.oh, g.ow, g.o, g.kh, g.kw, g.sh, g.sw, g.dh, g.dw, g.top, g.left, g.group};
  }
  key.push_back(static_cast<int64_t>(p.kind));
  return key;
}

// The same product with fewer images, rows of pixels or matrices: about as many multiply-adds as a try has.
Product smaller(const Product& p, Multiply multiply) {
  int64_t most = kTerms;
  if (p.kind != ProductKind::kMatMul)
    most = std::max(most, kTermsPerWeight * p.conv.o * p.conv.kh * p.conv.kw * (p.conv.c / p.conv.group));
  const auto cut = [most](int64_t size, int64_t work, int64_t least) {
    return work <= most ? size : std::clamp(size * most / work, std::min(size, least), size);
  };
  if (p.kind == ProductKind::kMatMul) {
    kern::MatMulGeometry g = p.matmul;
    g.batch[0] = cut(batch_of(g), multiply_adds(p), 1);
    g.batch_rank = 1;
    g.a_stride[0] = g.b_stride[0] = 1;
    g.n = cut(g.n, g.batch[0] * g.m * g.k * g.n, 128);
    g.m = cut(g.m, g.batch[0] * g.m * g.k * g.n, 128);
    g.k = cut(g.k, g.batch[0] * g.m * g.k * g.n, 1024);
    return kern::matmul_product(p.dtype, multiply, false, g);
  }
  kern::ConvGeometry g = p.conv;
  g.n = cut(g.n, multiply_adds(p), 1);
  const int64_t image = multiply_adds(p) / p.conv.n;
  if (g.n == 1 && image > most && g.oh > 8) {
    g.oh = cut(g.oh, image, 8);
    g.h = std::min(g.h, g.oh * g.sh);
  }
  return kern::conv_product(p.kind, p.dtype, multiply, false, g);
}

// Elements of a, b and y.
std::array<int64_t, 3> sizes_of(const Product& p) {
  if (p.kind == ProductKind::kMatMul) {
    const kern::MatMulGeometry& g = p.matmul;
    return {g.batch[0] * g.m * g.k, g.batch[0] * g.k * g.n, g.batch[0] * g.m * g.n};
  }
  const kern::ConvGeometry& g = p.conv;
  const int64_t x = g.n * g.h * g.w * g.c;
  const int64_t y = g.n * g.oh * g.ow * g.o;
  const int64_t w = g.o * g.kh * g.kw * (g.c / g.group);
  switch (p.kind) {
    case ProductKind::kConv:
      return {x, w, y};
    case ProductKind::kConvGradInput:
      return {y, w, x};
    default:
      return {x, y, w};
  }
}

// fp16 numbers of magnitudes from 1/4 to 1/2, all bits in use.
Tensor operand(int64_t size) {
  Tensor t(DType::kF16, {size});
  uint32_t state = 1;
  for (int64_t i = 0; i < size; ++i) {
    state = state * 1664525U + 1013904223U;
    t.as<num::Fp16>()[static_cast<size_t>(i)] = {static_cast<uint16_t>(0x3400U | ((state >> 16) & 0x83FFU))};
  }
  return t;
}

class Trial {
 public:
  Trial(const Product& product, const kern::Kernels& kernels) : kernels_(kernels) {
    plan_.product = product;
    plan_.threads = 1;
    kernels.matrix.plan(plan_);
    scratch_ = Tensor(DType::kU8, {plan_.scratch_bytes});
  }
  void run(const Tensor& a, const Tensor& b, Tensor& y) {
    const kern::ProductOperands operands{a.data(), b.data(), nullptr, y.data(),
                                         static_cast<std::byte*>(scratch_.data())};
    const double start = cpu_seconds();
    for (int stage = 0; stage < plan_.stages; ++stage)
      for (int64_t chunk = 0; chunk < plan_.chunks[stage]; ++chunk)
        kernels_.matrix.run(plan_, operands, stage, chunk, 0);
    const double seconds = cpu_seconds() - start;
    if (runs_++ > 0) best_ = std::min(best_, seconds);
  }
  double best() const { return best_; }

 private:
  kern::ProductPlan plan_{};
  const kern::Kernels& kernels_;
  Tensor scratch_;
  double best_ = 1e9;
  int runs_ = 0;
};

}  // namespace

std::optional<MultiplyRates> measure_multiply(const std::vector<Product>& products,
                                              const kern::Kernels& kernels, double seconds) {
  if (!kernels.matrix.half) return std::nullopt;
  struct Group {
    const Product* product;
    int64_t terms;
  };
  std::map<std::vector<int64_t>, Group> by_key;
  for (const Product& p : products)
    if (p.dtype == DType::kF16 && p.multiply != Multiply::kWide)
      by_key.try_emplace(key_of(p), Group{&p, 0}).first->second.terms += multiply_adds(p);
  std::vector<Group> groups;
  for (const auto& [key, group] : by_key) groups.push_back(group);
  if (groups.empty()) return std::nullopt;
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.terms > b.terms; });
  groups.resize(std::min(groups.size(), static_cast<size_t>(kMostProducts)));

  const par::ScopedFlushToZero mode;
  const double start = now_seconds();
  double terms = 0;
  double block_seconds = 0;
  double half_seconds = 0;
  for (size_t i = 0; i < groups.size() && (i == 0 || now_seconds() - start < seconds); ++i) {
    const Product& p = *groups[i].product;
    Trial block(smaller(p, Multiply::kBlock), kernels);
    const Product tried = smaller(p, Multiply::kHalf);
    Trial half(tried, kernels);
    const auto [a_size, b_size, y_size] = sizes_of(tried);
    const Tensor a = operand(a_size);
    const Tensor b = operand(b_size);
    Tensor y(DType::kF16, {y_size});
    // In turn, so that both see the same disturbances; what is left of the time is shared by what is left to
    // try.
    const double end =
        now_seconds() + (seconds - (now_seconds() - start)) / static_cast<double>(groups.size() - i);
    for (int round = 0; round < kLeastRounds || now_seconds() < end; ++round) {
      block.run(a, b, y);
      half.run(a, b, y);
    }
    const double share = static_cast<double>(groups[i].terms) / static_cast<double>(multiply_adds(tried));
    terms += static_cast<double>(groups[i].terms);
    block_seconds += share * block.best();
    half_seconds += share * half.best();
  }
  return MultiplyRates{terms / block_seconds, terms / half_seconds};
}

}  // namespace halftone::exec
