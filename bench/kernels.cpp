// Matrix products and convolutions, forward and both gradients, one thread, packing included: multiply-adds a
// second, and which part that is of what the processor's instruction for the policy can do (bench/peak.h).
// HALFTONE_ISA chooses the instruction set, --benchmark_filter=REGEX the cases.
#include "kern/kernels.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu_time.h"
#include "halftone/error.h"
#include "kern/product_cases.h"  // tests/kern: random operands
#include "par/pool.h"
#include "peak.h"
#include "tensor/tensor.h"

namespace halftone::bench {
namespace {

using kern::ConvGeometry;
using kern::Multiply;
using kern::Product;
using kern::ProductKind;

struct Case {
  std::string name;
  Product product;
  double macs;
  bool has_target;  // in block, at least 75 % of the peak
};

// The benchmark runs a case several times to find how often it must repeat it; operands are made once.
struct Operands {
  std::string name;
  Tensor a, b, y, scratch;
};

Tensor filled(DType dtype, const std::vector<std::byte>& bytes) {
  Tensor t(dtype, {static_cast<int64_t>(bytes.size()) / size_bytes(dtype)});
  std::memcpy(t.data(), bytes.data(), bytes.size());
  return t;
}

const Operands& operands_of(const Case& c, int64_t scratch_bytes) {
  static Operands kept;
  if (kept.name == c.name) return kept;
  const kern::test::Operands random = kern::test::random_operands(c.product, 1);
  const DType t = c.product.dtype;
  kept = {c.name, filled(t, random.a), filled(t, random.b), Tensor(t, {kern::test::sizes_of(c.product).y}),
          Tensor(DType::kU8, {scratch_bytes})};
  return kept;
}

struct Result {
  std::string name;
  double fraction;
};
std::vector<Result> results_with_target;

void run(benchmark::State& state, const Case& c) {
  const kern::MatrixKernels& kernels = kern::active().matrix;
  kern::ProductPlan plan{};
  plan.product = c.product;
  plan.threads = 1;
  kernels.plan(plan);
  const Operands& x = operands_of(c, plan.scratch_bytes);
  const kern::ProductOperands operands{x.a.data(), x.b.data(), nullptr, const_cast<void*>(x.y.data()),
                                       static_cast<std::byte*>(const_cast<void*>(x.scratch.data()))};
  const par::ScopedFlushToZero mode;
  const kern::Isa isa = kern::active_isa();
  const double peak_before = peak_gmacs(isa, c.product.multiply);
  double seconds = 0;
  double fastest = std::numeric_limits<double>::infinity();
  for ([[maybe_unused]] auto _ : state) {
    const double start = cpu_seconds();
    for (int stage = 0; stage < plan.stages; ++stage)
      for (int64_t chunk = 0; chunk < plan.chunks[stage]; ++chunk)
        kernels.run(plan, operands, stage, chunk, 0);
    const double one = cpu_seconds() - start;
    seconds += one;
    fastest = std::min(fastest, one);
  }
  state.counters["GMAC/s"] = 1e-9 * c.macs * static_cast<double>(state.iterations()) / seconds;
  const double best = 1e-9 * c.macs / fastest;
  state.counters["best"] = best;
  const double peak = std::max(peak_before, peak_gmacs(isa, c.product.multiply));
  if (peak == 0) return;
  // The peak is the best of some milliseconds too: what a neighbour takes from the mean of one says nothing
  // of the other.
  state.counters["of_peak"] = best / peak;
  if (!c.has_target || c.product.multiply != Multiply::kBlock) return;
  // The last run of a case is the one that counts.
  if (results_with_target.empty() || results_with_target.back().name != c.name)
    results_with_target.push_back({c.name, 0});
  results_with_target.back().fraction = best / peak;
}

std::string size_name(const ConvGeometry& g) {
  return "c" + std::to_string(g.c) + (g.o != g.c ? "to" + std::to_string(g.o) : "") + "_" +
         std::to_string(g.h) + "x" + std::to_string(g.w) + "_b" + std::to_string(g.n);
}

struct ConvCase {
  const char* name;
  ConvGeometry geometry;
  bool has_target;
  bool grad_input;  // nobody needs it of a network's first layer
};

std::vector<ConvCase> conv_cases() {
  using kern::test::geometry;
  std::vector<ConvCase> list;
  // images, height, width, channels: 3x3 layers of ResNet-20, VGG and the 224x224 ResNets
  const int64_t sizes[][4] = {{32, 32, 32, 16}, {64, 16, 16, 32},  {64, 8, 8, 64}, {4, 56, 56, 64},
                              {8, 28, 28, 128}, {16, 14, 14, 256}, {16, 7, 7, 512}};
  for (const auto& s : sizes)
    list.push_back({"conv3x3", geometry(s[0], s[1], s[2], s[3], s[3], 3, 1, 1), true, true});
  // VGG's second layer: its rows are longer than a chunk of the weight gradient
  list.push_back({"conv3x3", geometry(1, 224, 224, 64, 64, 3, 1, 1), true, true});
  list.push_back({"conv1x1", geometry(4, 56, 56, 64, 256, 1), false, true});
  list.push_back({"conv1x1", geometry(4, 56, 56, 256, 64, 1), false, true});
  list.push_back({"conv1x1", geometry(16, 14, 14, 1024, 256, 1), false, true});
  list.push_back({"depthwise3x3", geometry(8, 28, 28, 192, 192, 3, 1, 1, 1, 192), false, true});
  list.push_back({"conv7x7s2", geometry(4, 224, 224, 3, 64, 7, 2, 3), false, false});
  return list;
}

std::vector<Case> cases() {
  std::vector<Case> list;
  struct Policy {
    DType dtype;
    Multiply multiply;
    const char* name;
  };
  std::vector<Policy> policies = {{DType::kF32, Multiply::kWide, "wide-fp32"},
                                  {DType::kF16, Multiply::kBlock, "block-fp16"},
                                  {DType::kBf16, Multiply::kBlock, "block-bf16"}};
  if (kern::active().matrix.half) policies.push_back({DType::kF16, Multiply::kHalf, "half-fp16"});
  for (const Policy& p : policies) {
    // The three products of a linear layer, whose weight PyTorch stores as [out, in].
    const struct {
      const char* name;
      bool trans_a, trans_b;
    } kinds[] = {{"forward", false, true}, {"grad-input", false, false}, {"grad-weight", true, false}};
    const struct {
      int64_t batch, features;  // in and out
      bool has_target;
    } layers[] = {{1024, 1024, true}, {256, 4096, false}};
    for (const auto& layer : layers)
      for (const auto& kind : kinds) {
        kern::MatMulGeometry g{};
        g.m = kind.trans_a ? layer.features : layer.batch;
        g.k = kind.trans_a ? layer.batch : layer.features;
        g.n = layer.features;
        g.trans_a = kind.trans_a;
        g.trans_b = kind.trans_b;
        g.alpha = 1;
        list.push_back({"matmul/" + std::to_string(g.m) + "x" + std::to_string(g.k) + "x" +
                            std::to_string(g.n) + "/" + kind.name + "/" + p.name,
                        kern::matmul_product(p.dtype, p.multiply, false, g),
                        static_cast<double>(g.m * g.k * g.n), layer.has_target});
      }
  }
  for (const ConvCase& c : conv_cases()) {
    const ConvGeometry& g = c.geometry;
    const double macs = static_cast<double>(g.n * g.oh * g.ow * g.o * g.kh * g.kw * (g.c / g.group));
    const struct {
      const char* name;
      ProductKind kind;
    } kinds[] = {{"forward", ProductKind::kConv},
                 {"grad-input", ProductKind::kConvGradInput},
                 {"grad-weight", ProductKind::kConvGradWeight}};
    for (const Policy& p : policies)
      for (const auto& kind : kinds) {
        if (kind.kind == ProductKind::kConvGradInput && !c.grad_input) continue;
        list.push_back({std::string(c.name) + "/" + size_name(g) + "/" + kind.name + "/" + p.name,
                        kern::conv_product(kind.kind, p.dtype, p.multiply, false, g), macs, c.has_target});
      }
  }
  return list;
}

void print_peaks() {
  const kern::Isa isa = kern::active_isa();
  std::printf("instruction set: %s\n", std::string(kern::name_of(isa)).c_str());
  const struct {
    Multiply multiply;
    const char* name;
  } policies[] = {{Multiply::kWide, "wide"}, {Multiply::kBlock, "block"}, {Multiply::kHalf, "half"}};
  for (const auto& p : policies)
    if (peak_gmacs(isa, p.multiply) > 0)
      std::printf("peak of %s: %.1f GMAC/s (%s)\n", p.name, peak_gmacs(isa, p.multiply),
                  peak_instruction(isa, p.multiply));
}

void print_verdict() {
  if (results_with_target.empty()) return;
  const Result* lowest = &results_with_target.front();
  double log_sum = 0;
  for (const Result& r : results_with_target) {
    if (r.fraction < lowest->fraction) lowest = &r;
    log_sum += std::log(r.fraction);
  }
  const double mean = std::exp(log_sum / static_cast<double>(results_with_target.size()));
  std::printf(
      "block, matrix product and 3x3 convolutions: geometric mean %.0f %% of the peak, lowest %.0f %% (%s); "
      "target: at "
      "least 75 %% in every one: %s\n",
      100 * mean, 100 * lowest->fraction, lowest->name.c_str(), lowest->fraction >= 0.75 ? "met" : "not met");
}

}  // namespace
}  // namespace halftone::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    halftone::bench::print_peaks();
  } catch (const halftone::Error& e) {  // HALFTONE_ISA
    std::fprintf(stderr, "bench_kernels: %s\n", e.what());
    return 2;
  }
  const std::vector<halftone::bench::Case> cases = halftone::bench::cases();
  for (const halftone::bench::Case& c : cases)
    benchmark::RegisterBenchmark(c.name.c_str(),
                                 [&c](benchmark::State& state) { halftone::bench::run(state, c); })
        ->Unit(benchmark::kMillisecond)
        ->MinTime(0.2);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  halftone::bench::print_verdict();
  return 0;
}
