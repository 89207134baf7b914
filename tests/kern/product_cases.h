// Random products for the tests of the matrix kernels: operands with special values, a run on one instruction
// set, and the definition in double.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kern/dispatch.h"
#include "kern/kernels.h"
#include "kern/matrix.h"
#include "num/half.h"

namespace halftone::kern::test {

inline void store(DType t, std::vector<std::byte>& bytes, int64_t i, double x) {
  std::byte* const p = bytes.data() + i * size_bytes(t);
  const auto put = [&](auto v) { std::memcpy(p, &v, sizeof v); };
  switch (t) {
    case DType::kF64:
      return put(x);
    case DType::kF32:
      return put(static_cast<float>(x));
    case DType::kF16:
      return put(num::to_fp16(static_cast<float>(x)).bits);
    default:
      return put(num::to_bf16(static_cast<float>(x)).bits);
  }
}
inline double load(DType t, const std::vector<std::byte>& bytes, int64_t i) {
  const std::byte* const p = bytes.data() + i * size_bytes(t);
  const auto get = [&](auto v) {
    std::memcpy(&v, p, sizeof v);
    return v;
  };
  switch (t) {
    case DType::kF64:
      return get(double{});
    case DType::kF32:
      return get(float{});
    case DType::kF16:
      return num::widen(num::Fp16{get(uint16_t{})});
    default:
      return num::widen(num::Bf16{get(uint16_t{})});
  }
}

struct Sizes {
  int64_t a, b, bias, y;
};
inline Sizes sizes_of(const Product& p) {
  if (p.kind == ProductKind::kMatMul) {
    const MatMulGeometry& g = p.matmul;
    int64_t batch = 1;
    int64_t a = 1;
    int64_t b = 1;
    for (int d = 0; d < g.batch_rank; ++d) {
      batch *= g.batch[d];
      a += (g.batch[d] - 1) * g.a_stride[d];
      b += (g.batch[d] - 1) * g.b_stride[d];
    }
    return {a * g.m * g.k, b * g.k * g.n, p.has_bias ? g.n : 0, batch * g.m * g.n};
  }
  const ConvGeometry& g = p.conv;
  const int64_t x = g.n * g.h * g.w * g.c;
  const int64_t y = g.n * g.oh * g.ow * g.o;
  const int64_t w = g.o * g.kh * g.kw * (g.c / g.group);
  switch (p.kind) {
    case ProductKind::kConv:
      return {x, w, p.has_bias ? g.o : 0, y};
    case ProductKind::kConvGradInput:
      return {y, w, 0, x};
    default:
      return {x, y, 0, w};
  }
}

struct Operands {
  std::vector<std::byte> a, b, bias;
};

// Everything here that delivers a product, the reference first: the instruction sets, and amx's tiles where
// they would decline it as the slower way.
struct Delivery {
  std::string name;
  MatrixKernels kernels;
};
inline std::vector<Delivery> deliveries(const Product& p) {
  std::vector<Delivery> list;
  for (const Isa isa : available())
    if (p.multiply != Multiply::kHalf || table(isa).matrix.half)
      list.push_back({std::string(name_of(isa)), table(isa).matrix});
  if (all_on_tiles() != nullptr && p.multiply == Multiply::kBlock)
    list.push_back({"amx, all on tiles", *all_on_tiles()});
  return list;
}
// What to mix into Gaussian operands.
enum class Flavour { kPlain, kZeros, kTiny, kNonFinite, kHuge };

inline Operands random_operands(const Product& p, uint64_t seed, Flavour flavour = Flavour::kPlain) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> gauss;
  const Sizes sizes = sizes_of(p);
  const auto make = [&](int64_t n, bool special) {
    std::vector<std::byte> bytes(static_cast<size_t>(n * size_bytes(p.dtype)));
    for (int64_t i = 0; i < n; ++i) {
      double v = gauss(random);
      const uint64_t dice = random() % 64;
      if (flavour == Flavour::kZeros && dice < 40) v = (dice & 1) != 0 ? 0.0 : -0.0;
      if (flavour == Flavour::kTiny) v *= std::ldexp(1.0, p.dtype == DType::kF16 ? -20 : -75);
      if (flavour == Flavour::kHuge) v *= std::ldexp(1.0, p.dtype == DType::kF16 ? 14 : 74);
      if (flavour == Flavour::kNonFinite && special &&
          random() % static_cast<uint64_t>(std::max<int64_t>(n / 2, 1)) == 0)
        v = dice < 20 ? INFINITY : dice < 40 ? -INFINITY : NAN;
      store(p.dtype, bytes, i, v);
    }
    return bytes;
  };
  Operands x;
  x.a = make(sizes.a, true);
  x.b = make(sizes.b, true);
  x.bias = make(sizes.bias, false);
  return x;
}

// Runs the product with the chunks of each stage in a random order on random workers, as a pool might; checks
// that nothing is written beyond scratch and result.
inline std::vector<std::byte> run(const MatrixKernels& kernels, const Product& product, const Operands& x,
                                  int threads = 1, uint64_t seed = 1) {
  constexpr size_t kGuard = 256;
  ProductPlan plan{};
  plan.product = product;
  plan.threads = threads;
  kernels.plan(plan);
  const size_t scratch_bytes = static_cast<size_t>(plan.scratch_bytes);
  auto* const scratch =
      static_cast<std::byte*>(std::aligned_alloc(64, (scratch_bytes + kGuard + 63) / 64 * 64));
  // NaN in every type: what is read before it is written shows, even if it is multiplied by zero.
  std::memset(scratch, 0xFF, scratch_bytes);
  std::memset(scratch + scratch_bytes, 0xCD, kGuard);
  const size_t y_bytes = static_cast<size_t>(sizes_of(product).y * size_bytes(product.dtype));
  std::vector<std::byte> y(y_bytes + kGuard, std::byte{0xAB});
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040U);  // FTZ and DAZ
  std::mt19937_64 random(seed);
  for (int stage = 0; stage < plan.stages; ++stage) {
    std::vector<int64_t> order(static_cast<size_t>(plan.chunks[stage]));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (const int64_t chunk : order)
      kernels.run(plan, {x.a.data(), x.b.data(), x.bias.data(), y.data(), scratch}, stage, chunk,
                  static_cast<int>(random() % static_cast<uint64_t>(threads)));
  }
  _mm_setcsr(mode);
  bool whole = true;
  for (size_t i = 0; i < kGuard; ++i)
    whole = whole && scratch[scratch_bytes + i] == std::byte{0xCD} && y[y_bytes + i] == std::byte{0xAB};
  std::free(scratch);
  y.resize(y_bytes);
  if (!whole) y.clear();
  return y;
}

// The sums of the definition in double, and the sums of the terms' magnitudes.
struct Exact {
  std::vector<double> y, magnitude;
};
inline Exact exact(const Product& p, const Operands& x, const ConvGeometry& g) {
  const Sizes sizes = sizes_of(p);
  Exact e{std::vector<double>(static_cast<size_t>(sizes.y)),
          std::vector<double>(static_cast<size_t>(sizes.y))};
  const auto add = [&](int64_t y, int64_t a, int64_t b) {
    const double term = load(p.dtype, x.a, a) * load(p.dtype, x.b, b);
    e.y[static_cast<size_t>(y)] += term;
    e.magnitude[static_cast<size_t>(y)] += std::abs(term);
  };
  if (p.kind == ProductKind::kMatMul) {
    const MatMulGeometry& q = p.matmul;
    const int64_t matrices = sizes.y / (q.m * q.n);
    for (int64_t batch = 0; batch < matrices; ++batch) {
      int64_t a = 0;
      int64_t b = 0;
      for (int64_t d = q.batch_rank - 1, rest = batch; d >= 0; rest /= q.batch[d], --d) {
        a += rest % q.batch[d] * q.a_stride[d];
        b += rest % q.batch[d] * q.b_stride[d];
      }
      for (int64_t m = 0; m < q.m; ++m)
        for (int64_t n = 0; n < q.n; ++n)
          for (int64_t k = 0; k < q.k; ++k)
            add((batch * q.m + m) * q.n + n, a * q.m * q.k + (q.trans_a ? k * q.m + m : m * q.k + k),
                b * q.k * q.n + (q.trans_b ? n * q.k + k : k * q.n + n));
    }
    for (size_t i = 0; i < e.y.size(); ++i) {
      e.y[i] *= q.alpha;
      e.magnitude[i] *= std::abs(q.alpha);
      if (p.has_bias) e.y[i] += load(p.dtype, x.bias, static_cast<int64_t>(i) % q.n);
    }
    return e;
  }
  const int64_t in = g.c / g.group;
  const int64_t out = g.o / g.group;
  for (int64_t n = 0; n < g.n; ++n)
    for (int64_t oh = 0; oh < g.oh; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t kh = 0; kh < g.kh; ++kh)
          for (int64_t kw = 0; kw < g.kw; ++kw) {
            const int64_t h = oh * g.sh + kh * g.dh - g.top;
            const int64_t w = ow * g.sw + kw * g.dw - g.left;
            if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
            for (int64_t o = 0; o < g.o; ++o)
              for (int64_t i = 0; i < in; ++i) {
                const int64_t xi = ((n * g.h + h) * g.w + w) * g.c + o / out * in + i;
                const int64_t yi = ((n * g.oh + oh) * g.ow + ow) * g.o + o;
                const int64_t wi = ((o * g.kh + kh) * g.kw + kw) * in + i;
                if (p.kind == ProductKind::kConv)
                  add(yi, xi, wi);
                else if (p.kind == ProductKind::kConvGradInput)
                  add(xi, yi, wi);
                else
                  add(wi, xi, yi);
              }
          }
  if (p.has_bias)
    for (size_t i = 0; i < e.y.size(); ++i) e.y[i] += load(p.dtype, x.bias, static_cast<int64_t>(i) % g.o);
  return e;
}

inline ConvGeometry geometry(int64_t n, int64_t h, int64_t w, int64_t c, int64_t o, int64_t k,
                             int64_t stride = 1, int64_t pad = 0, int64_t dilation = 1, int64_t group = 1) {
  const auto size = [&](int64_t x) { return (x + 2 * pad - dilation * (k - 1) - 1) / stride + 1; };
  return {n, h, w, c, size(h), size(w), o, k, k, stride, stride, dilation, dilation, pad, pad, group};
}

inline std::string describe(const Product& p) {
  std::string s = std::string(name_of(p.dtype)) + (p.multiply == Multiply::kBlock  ? " block"
                                                   : p.multiply == Multiply::kHalf ? " half"
                                                                                   : " wide");
  const auto number = [&](const char* name, int64_t v) {
    s += std::string(" ") + name + "=" + std::to_string(v);
  };
  if (p.kind == ProductKind::kMatMul) {
    const MatMulGeometry& g = p.matmul;
    s += " matmul";
    number("m", g.m), number("k", g.k), number("n", g.n), number("trans_a", g.trans_a),
        number("trans_b", g.trans_b);
    for (int d = 0; d < g.batch_rank; ++d) number("batch", g.batch[d]);
    return s;
  }
  const ConvGeometry& g = p.conv;
  s += p.kind == ProductKind::kConv            ? " conv"
       : p.kind == ProductKind::kConvGradInput ? " conv_grad_input"
                                               : " conv_grad_weight";
  number("n", g.n), number("h", g.h), number("w", g.w), number("c", g.c), number("o", g.o),
      number("kh", g.kh), number("kw", g.kw);
  number("oh", g.oh), number("ow", g.ow), number("sh", g.sh), number("sw", g.sw), number("dh", g.dh),
      number("dw", g.dw);
  number("top", g.top), number("left", g.left), number("group", g.group);
  return s;
}

// Every shape that matters: strides 1 to 3, dilations, groups, channels around the vector width, asymmetric
// padding, one-pixel images, wide rows.
inline std::vector<ConvGeometry> conv_cases() {
  std::vector<ConvGeometry> list = {
      geometry(2, 8, 8, 16, 16, 3, 1, 1), geometry(3, 9, 7, 3, 16, 3, 1, 1),
      geometry(2, 11, 13, 5, 17, 3, 2, 1), geometry(1, 10, 10, 1, 3, 5, 1, 2),
      geometry(5, 7, 7, 17, 33, 3, 3, 2), geometry(2, 12, 10, 6, 9, 3, 1, 2, 2),
      geometry(1, 13, 13, 4, 7, 3, 2, 3, 3), geometry(17, 4, 4, 64, 64, 3, 1, 1),
      geometry(9, 1, 1, 40, 48, 1), geometry(35, 2, 2, 8, 16, 3, 1, 1), geometry(2, 6, 6, 64, 32, 1),
      geometry(3, 9, 9, 32, 64, 1, 2), geometry(2, 5, 150, 3, 5, 3, 1, 1), geometry(1, 3, 300, 2, 4, 1),
      geometry(2, 8, 8, 12, 12, 3, 1, 1, 1, 3), geometry(2, 8, 8, 12, 18, 3, 2, 1, 1, 6),
      geometry(2, 9, 9, 24, 24, 3, 1, 1, 1, 24), geometry(2, 9, 9, 21, 21, 3, 2, 1, 1, 21),
      geometry(2, 7, 7, 5, 10, 3, 1, 1, 1, 5),
      // Depthwise: more channels than a block of them, larger kernels, dilation, strides beyond the kernel,
      // one column.
      geometry(9, 12, 23, 40, 40, 5, 1, 2, 1, 40), geometry(2, 11, 12, 49, 49, 3, 2, 1, 2, 49),
      geometry(1, 9, 20, 16, 16, 5, 2, 2, 1, 16), geometry(2, 10, 7, 33, 33, 2, 3, 0, 1, 33),
      geometry(3, 6, 1, 64, 64, 1, 1, 0, 1, 64), geometry(1, 33, 16, 70, 100, 3, 1, 1),
      geometry(4, 16, 16, 32, 32, 3, 1, 1), geometry(2, 30, 30, 3, 64, 7, 2, 3),
      geometry(1, 4, 4, 3, 2, 3, 3, 0),
      geometry(1, 5, 5, 2, 3, 2, 4, 0),  // a stride larger than the kernel: pixels that no tap meets
  };
  ConvGeometry odd{2, 9, 8, 7, 0, 0, 11, 3, 2, 2, 1, 1, 3, 0, 2, 1};  // asymmetric in everything
  odd.oh = (9 + 0 + 1 - 3) / 2 + 1;
  odd.ow = (8 + 2 + 1 - 4) / 1 + 1;
  list.push_back(odd);
  ConvGeometry sequence{3, 1, 40, 6, 1, 40, 10, 1, 5, 1, 1, 1, 1, 0, 2, 1};
  list.push_back(sequence);
  return list;
}

// Where the blocking of the fast kernels has edges.
inline std::vector<ConvGeometry> blocked_conv_cases() {
  std::vector<ConvGeometry> list = {
      // Weight gradients whose result is cut into blocks of input channels, of output channels, of both, with
      // an uneven last one.
      geometry(3, 3, 3, 150, 230, 3, 1, 1),
      geometry(5, 3, 3, 410, 330, 1, 2),
      geometry(2, 2, 2, 700, 150, 1),
      // Chains of several pieces, dilated columns, and rows that don't fit one piece.
      geometry(20, 5, 7, 40, 24, 3, 1, 1),
      geometry(3, 6, 9, 34, 20, 3, 2, 2, 2),
      geometry(2, 60, 58, 36, 33, 3, 1, 1),
      // One vector of outputs, whose taps share loads: chunks that end within taps, twice in a row of taps;
      // two columns (a phase of the input gradient).
      geometry(2, 7, 19, 26, 13, 3, 1, 1),
      geometry(2, 11, 13, 9, 50, 3, 2, 1),
      geometry(1, 5, 40, 90, 16, 3, 1, 1),
      // Weight gradients whose units are pixels of two small images: whole blocks, a last image without a
      // second one, an odd number in each block, groups, strides and dilations, one kernel column.
      geometry(4, 7, 7, 40, 36, 3, 1, 1),
      geometry(9, 7, 7, 3, 16, 3, 1, 1),
      geometry(9, 6, 7, 34, 70, 3, 1, 1),
      geometry(8, 14, 1, 20, 9, 3, 1, 1),
      geometry(4, 8, 8, 16, 20, 3, 1, 1),
      geometry(4, 7, 7, 24, 36, 3, 1, 1, 1, 3),
      geometry(6, 9, 9, 33, 20, 3, 2, 2, 2),
      geometry(5, 10, 13, 8, 20, 3, 3, 1),
      geometry(4, 7, 7, 40, 72, 1),
      geometry(4, 13, 13, 20, 9, 1, 2, 1),
      geometry(4, 5, 5, 16, 20, 1, 1, 1),
      // Weight gradients whose units are pixels of both halves of a row: an odd row with strides; groups of
      // whole vectors, taken as one run of taps; dilation.
      geometry(1, 19, 21, 40, 20, 3, 2, 1),
      geometry(2, 13, 15, 32, 20, 3, 1, 1, 1, 2),
      geometry(1, 18, 17, 48, 20, 3, 1, 2, 2),
      // Rows that are cut.
      geometry(2, 30, 41, 90, 80, 1),
      geometry(1, 2, 1111, 30, 30, 3, 1, 1),
      // Rows longer than a chunk whose x is taken as whole vectors, or with a rest: strides, cut rows,
      // groups, dilation.
      geometry(1, 3, 290, 16, 8, 3, 2, 1),
      geometry(1, 2, 1111, 40, 20, 3, 1, 1),
      geometry(1, 2, 141, 80, 20, 3, 1, 1, 1, 2),
      geometry(1, 5, 150, 34, 9, 3, 1, 2, 2),
      // Few pixels and many weights: with phases, and with groups.
      geometry(3, 5, 5, 64, 300, 3, 2, 1),
      geometry(2, 4, 4, 128, 260, 3, 1, 1, 1, 2),
      // Small images mixed pixel by pixel, a last group of fewer: strides and phases, phases without a tap,
      // groups, several blocks of channels, dilation.
      geometry(9, 9, 9, 64, 64, 3, 2, 1),
      geometry(6, 9, 9, 64, 128, 1, 2),
      geometry(5, 6, 6, 128, 128, 3, 1, 1, 1, 2),
      geometry(7, 7, 5, 192, 70, 3, 1, 1),
      geometry(5, 8, 8, 64, 64, 3, 1, 2, 2),
  };
  // Small images, one kernel column, strides.
  const ConvGeometry column{4, 12, 11, 18, 4, 5, 40, 5, 1, 2, 2, 2, 1, 0, 0, 2};
  list.push_back(column);
  return list;
}

struct MatMulCase {
  MatMulGeometry geometry;
  bool bias;
};
inline std::vector<MatMulCase> matmul_cases() {
  std::vector<MatMulCase> list;
  // The last two have several bands of rows that share what is packed of b, and one of them several blocks of
  // K.
  const int64_t sizes[][3] = {{1, 1, 1},      {3, 5, 7},     {16, 64, 10},   {33, 129, 31}, {14, 300, 64},
                              {100, 128, 65}, {7, 257, 130}, {519, 130, 50}, {530, 600, 37}};
  for (const auto& s : sizes)
    for (int trans = 0; trans < 4; ++trans) {
      MatMulGeometry g{};
      g.m = s[0], g.k = s[1], g.n = s[2];
      g.trans_a = (trans & 1) != 0;
      g.trans_b = (trans & 2) != 0;
      g.alpha = trans == 3 ? 0.3F : 1.0F;
      list.push_back({g, trans % 2 == 0});
    }
  MatMulGeometry batched{};
  batched.m = 5, batched.k = 150, batched.n = 19, batched.alpha = 1;
  batched.batch_rank = 3;
  const int64_t batch[] = {2, 3, 2};
  const int64_t a_stride[] = {3, 1, 0};
  const int64_t b_stride[] = {0, 2, 1};
  std::copy(batch, batch + 3, batched.batch);
  std::copy(a_stride, a_stride + 3, batched.a_stride);
  std::copy(b_stride, b_stride + 3, batched.b_stride);
  list.push_back({batched, true});
  batched.trans_a = true;
  list.push_back({batched, false});
  return list;
}

}  // namespace halftone::kern::test
