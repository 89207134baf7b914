// What happens to gradients: accumulation, the guard, the optimizer's step. The kernels' formulas are tested
// in tests/kern/optimizer_test.cpp; here: how the nodes cut, scale and skip.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kern/kernels.h"
#include "stateful.h"

namespace halftone::ops::test {
namespace {

constexpr int64_t kCount = 2 * 16384 + 5;  // three chunks, the last one short

Numbers pattern(int64_t n, int64_t factor, double unit) {
  Numbers list;
  for (int64_t i = 0; i < n; ++i) list.push_back(static_cast<double>(i * factor % 251 - 125) * unit);
  return list;
}

// ---------------------------------------------------------------- accumulation
TEST(GradientAccumulate, TheFirstOverwritesAndTheOthersAdd) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    for (const kern::Isa isa : isas(dtype)) {
      Stateful s(dtype, 3, isa);
      const ValueId total = s.state("sum", register_type(dtype), {kCount});
      const ValueId dw = s.state("dw", dtype, {kCount});
      s.b.add("GradientAccumulate", {total, dw});
      s.compile();
      s.set("sum", Numbers(static_cast<size_t>(kCount), 99));
      Numbers expected(static_cast<size_t>(kCount), 0.0);
      for (int micro = 0; micro < 3; ++micro) {
        const Numbers more = pattern(kCount, 7 + micro, 1);
        s.set("dw", more);
        s.step.micro_index = micro;
        s.compute();
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += more[i];
        ASSERT_EQ(s.get("sum"), expected) << name_of(dtype) << " micro-batch " << micro;
      }
    }
}

TEST(GradientAccumulate, SmallGradientsSurviveBesideLargeOnes) {
  Stateful s(DType::kF16);
  const ValueId total = s.state("sum", DType::kF32, {1});
  const ValueId dw = s.state("dw", DType::kF16, {1});
  s.b.add("GradientAccumulate", {total, dw});
  s.compile();
  for (int micro = 0; micro < 5; ++micro) {
    s.set("dw", {micro == 0 ? 4096.0 : 1.0});
    s.step.micro_index = micro;
    s.compute();
  }
  EXPECT_EQ(s.get("sum"), Numbers{4100});  // 4096 + 1 is 4096 in fp16
}

TEST(GradientAccumulate, RefusesShapesThatDiffer) {
  EXPECT_NE(
      refusal({{DType::kF32, {2}}, {DType::kF16, {3}}}, "GradientAccumulate", {}).find("shapes 2 and 3"),
      std::string::npos);
}

// ---------------------------------------------------------------- the guard
struct Guarded : Stateful {
  explicit Guarded(DType dtype, int threads = 3, kern::Isa isa = kern::Isa::kReference)
      : Stateful(dtype, threads, isa) {
    const ValueId a = state("a", dtype, {kCount});
    const ValueId c = state("b", DType::kF32, {2, 2});
    b.add("GradientGuard", {a, c});
    compile();
    set("a", pattern(kCount, 7, 0x1p-4));
    set("b", {3, 4, 0, -12});
  }
  double norm() {
    double sum = 0;
    for (const char* name : {"a", "b"})
      for (const double v : get(name)) sum += v * v;
    return std::sqrt(sum);
  }
};

TEST(GradientGuard, TakesTheNormOfAllTensorsUnscaled) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
    double first = 0;
    for (const kern::Isa isa : isas(dtype))
      for (const int threads : {1, 3}) {
        Guarded s(dtype, threads, isa);
        s.step.loss_scale = 8;
        s.step.finite = false;  // whatever it was
        s.compute();
        EXPECT_TRUE(s.step.finite);
        EXPECT_NEAR(s.step.grad_norm, s.norm() / 8, 1e-12 * s.norm());
        EXPECT_EQ(s.step.clip_coefficient, 1);
        if (first == 0) first = s.step.grad_norm;
        EXPECT_EQ(s.step.grad_norm, first) << "bit for bit";
      }
  }
}

TEST(GradientGuard, ClipsAsPyTorch) {
  Guarded s(DType::kF32);
  s.step.clip_norm = 2;
  s.compute();
  EXPECT_EQ(s.step.clip_coefficient, static_cast<float>(2 / (s.step.grad_norm + 1e-6)));
  EXPECT_LT(s.step.clip_coefficient, 0.01);
  s.step.clip_norm = static_cast<float>(2 * s.step.grad_norm);
  s.compute();
  EXPECT_EQ(s.step.clip_coefficient, 1) << "a short gradient is not made longer";
}

TEST(GradientGuard, SeesEveryElement) {
  for (const double bad : {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()})
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16})
      for (const kern::Isa isa : kern::available()) {
        Guarded s(dtype, 3, isa);
        s.step.clip_norm = 1;
        for (const size_t at : {size_t{0}, size_t{16383}, size_t{16384}, static_cast<size_t>(kCount) - 1}) {
          Numbers a = pattern(kCount, 7, 1);
          a[at] = bad;
          s.set("a", a);
          s.compute();
          EXPECT_FALSE(s.step.finite) << name_of(dtype) << " element " << at;
          EXPECT_EQ(s.step.clip_coefficient, 1);
        }
        s.set("a", pattern(kCount, 7, 1));
        s.set("b", {0, 0, 0, bad});
        s.compute();
        EXPECT_FALSE(s.step.finite) << "in the second tensor";
      }
}

// ---------------------------------------------------------------- the step
struct Options {
  kern::Optimizer kind = kern::Optimizer::kSgd;
  kern::Rounding rounding = kern::Rounding::kNearest;
  double weight_decay = 0;
  double momentum = 0;
  bool nesterov = false;
  double beta1 = 0.5;  // powers of two and their sums: exact in fp32
  double beta2 = 0.75;
  double alpha = 0.875;
  double eps = 0x1p-10;
  int64_t stream = 3;
  int64_t begins = 0;
};

struct Optimized : Stateful {
  Optimized(DType dtype, const Options& o, int64_t n = kCount, int threads = 1,
            kern::Isa isa = kern::Isa::kReference)
      : Stateful(dtype, threads, isa), count(n) {
    const bool adam = o.kind == kern::Optimizer::kAdam || o.kind == kern::Optimizer::kAdamW;
    const bool m = adam || o.momentum != 0;
    const bool v = adam || o.kind == kern::Optimizer::kRmsProp;
    const bool carry = o.rounding == kern::Rounding::kKahan;
    const ValueId w = state("w", dtype, {n}, ir::ValueKind::kParameter);
    const ValueId dw = state("dw", dtype, {n});
    std::vector<ValueId> inputs{w, dw, m ? state("m", dtype, {n}) : kNone, v ? state("v", dtype, {n}) : kNone,
                                carry ? state("carry", dtype, {n}) : kNone};
    b.set_phase(ir::Phase::kUpdate);
    b.add("OptimizerStep", inputs,
          {{"kind", static_cast<int64_t>(o.kind)},
           {"rounding", static_cast<int64_t>(o.rounding)},
           {"weight_decay", o.weight_decay},
           {"momentum", o.momentum},
           {"nesterov", int64_t{o.nesterov}},
           {"beta1", o.beta1},
           {"beta2", o.beta2},
           {"alpha", o.alpha},
           {"eps", o.eps},
           {"stream", o.stream},
           {"begins", o.begins}});
    compile();
    set("w", pattern(n, 11, 0x1p-6));
    set("dw", pattern(n, 7, 0x1p-4));
    step.lr = 0.25;
    step.good_steps = 1;
  }
  // One step with another gradient each time.
  void next(int64_t t) {
    set("dw", pattern(count, 7 + t, 0x1p-4));
    step.good_steps = static_cast<double>(t + 1);
    step.step = static_cast<uint64_t>(t);
    update();
  }
  int64_t count;
};

// The same by hand, in double: PyTorch's formulas.
Numbers by_hand(const Options& o, int64_t n, int steps) {
  Numbers w = pattern(n, 11, 0x1p-6);
  Numbers m(w.size(), 0.0);
  Numbers v(w.size(), 0.0);
  const double lr = 0.25;
  for (int t = 0; t < steps; ++t) {
    const Numbers dw = pattern(n, 7 + t, 0x1p-4);
    for (size_t i = 0; i < w.size(); ++i) {
      double g = dw[i];
      if (o.kind == kern::Optimizer::kAdamW) {
        w[i] -= lr * o.weight_decay * w[i];
      } else {
        g += o.weight_decay * w[i];
      }
      if (o.kind == kern::Optimizer::kSgd) {
        m[i] = o.momentum * m[i] + g;
        w[i] -= lr * (o.nesterov ? g + o.momentum * m[i] : m[i]);
      } else if (o.kind == kern::Optimizer::kRmsProp) {
        v[i] = o.alpha * v[i] + (1 - o.alpha) * g * g;
        m[i] = o.momentum * m[i] + g / (std::sqrt(v[i]) + o.eps);
        w[i] -= lr * m[i];
      } else {
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
        const double m_hat = m[i] / (1 - std::pow(o.beta1, t + 1));
        const double v_hat = v[i] / (1 - std::pow(o.beta2, t + 1));
        w[i] -= lr * m_hat / (std::sqrt(v_hat) + o.eps);
      }
    }
  }
  return w;
}

std::vector<std::pair<const char*, Options>> kinds() {
  std::vector<std::pair<const char*, Options>> list(8);
  list[0] = {"sgd", {}};
  list[1].first = "sgd with momentum and decay";
  list[1].second.momentum = 0.5;
  list[1].second.weight_decay = 0.125;
  list[2].first = "nesterov";
  list[2].second.momentum = 0.5;
  list[2].second.nesterov = true;
  list[3].first = "adam";
  list[3].second.kind = kern::Optimizer::kAdam;
  list[3].second.weight_decay = 0.125;
  list[4].first = "adamw";
  list[4].second.kind = kern::Optimizer::kAdamW;
  list[4].second.weight_decay = 0.125;
  list[5].first = "rmsprop";
  list[5].second.kind = kern::Optimizer::kRmsProp;
  list[6].first = "rmsprop with momentum and decay";
  list[6].second.kind = kern::Optimizer::kRmsProp;
  list[6].second.momentum = 0.5;
  list[6].second.weight_decay = 0.125;
  list[7].first = "adam without decay";
  list[7].second.kind = kern::Optimizer::kAdam;
  return list;
}

TEST(OptimizerStep, FollowsTheFormulasOverSeveralSteps) {
  for (const auto& [name, o] : kinds()) {
    SCOPED_TRACE(name);
    for (const DType dtype : {DType::kF64, DType::kF32}) {
      Optimized s(dtype, o, kCount, 3);
      const Numbers before = s.get("w");
      for (int64_t t = 0; t < 4; ++t) s.next(t);
      const Numbers w = s.get("w");
      const Numbers expected = by_hand(o, kCount, 4);
      size_t moved = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        // The corrections are fp32 numbers, everything else is exact in double; in fp32 a dozen roundings a
        // step of numbers below 16.
        ASSERT_NEAR(w[i], expected[i], dtype == DType::kF64 ? 0x1p-20 : 48 * 16 * 0x1p-24) << "element " << i;
        moved += w[i] != before[i] ? 1 : 0;
      }
      EXPECT_GT(moved, w.size() * 9 / 10);
    }
  }
}

// ---------------------------------------------------------------- averages
TEST(AverageStep, BeginsAsTheWeightsAndForgetsTheFirstOnesQuickly) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    Stateful s(dtype, 3);
    const ValueId a = s.state("a", dtype, {kCount});
    const ValueId w = s.state("w", dtype, {kCount});
    s.b.set_phase(ir::Phase::kUpdate);
    s.b.add("AverageStep", {a, w}, {{"decay", 0.9}, {"stream", int64_t{1}}});
    s.compile();
    s.set("a", Numbers(static_cast<size_t>(kCount), 99));
    Numbers expected;
    for (int64_t t = 1; t <= 100; ++t) {
      const Numbers now = pattern(kCount, 7 + t % 5, 0x1p-6);
      s.set("w", now);
      s.step.good_steps = static_cast<double>(t);
      s.step.finite = t != 50;  // a step that is skipped moves no average
      s.update();
      if (t == 1) expected = now;
      const double keeps = std::min(0.9, static_cast<double>(t - 1) / static_cast<double>(t + 8));
      for (size_t i = 0; i < now.size() && s.step.finite; ++i)
        expected[i] = keeps * expected[i] + (1 - keeps) * now[i];
      if (t == 1) {
        ASSERT_EQ(s.get("a"), now);
      }
    }
    const Numbers a_now = s.get("a");
    // The factor is an fp32 number; a step's errors shrink by it, so ten steps' of numbers below 2 remain.
    for (size_t i = 0; i < a_now.size(); ++i) ASSERT_NEAR(a_now[i], expected[i], 10 * 4 * 2 * 0x1p-24);
  }
}

TEST(AverageStep, In16BitsTheMeanStaysRight) {
  Stateful s(DType::kF16);
  const ValueId a = s.state("a", DType::kF16, {kCount});
  const ValueId w = s.state("w", DType::kF16, {kCount});
  s.b.set_phase(ir::Phase::kUpdate);
  s.b.add("AverageStep", {a, w}, {{"decay", 0.999}, {"stream", int64_t{1}}});
  s.compile();
  s.set("a", Numbers(static_cast<size_t>(kCount), 1));
  s.set("w", Numbers(static_cast<size_t>(kCount), 1.25));
  s.step.good_steps = 1e6;
  for (uint64_t t = 0; t < 100; ++t) {  // each moves by a quarter of the last place, 2^-10
    s.step.step = t;
    s.update();
  }
  const Numbers now = s.get("a");
  double mean = 0;
  for (const double x : now) mean += x / static_cast<double>(now.size());
  // Each of 100 steps rounds by less than 2^-10, at random: five deviations of the mean of kCount elements.
  EXPECT_NEAR(mean, 1.25 - 0.25 * std::pow(0.999, 100), 5 * 10 * 0x1p-11 / std::sqrt(kCount));
}

TEST(OptimizerStep, AnyInstructionSetAndNumberOfThreadsGivesTheSameBits) {
  for (auto [name, o] : kinds())
    for (const kern::Rounding rounding :
         {kern::Rounding::kNearest, kern::Rounding::kStochastic, kern::Rounding::kKahan})
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
        o.rounding = rounding;
        Numbers first;
        int64_t stalled = 0;
        for (const kern::Isa isa : kern::available())
          for (const int threads : {1, 3}) {
            Optimized s(dtype, o, 16384 + 37, threads, isa);
            for (int64_t t = 0; t < 2; ++t) s.next(t);
            Numbers all = s.get("w");
            for (const char* state : {"m", "v", "carry"}) try {
                const Numbers more = s.get(state);
                all.insert(all.end(), more.begin(), more.end());
              } catch (const std::logic_error&) {  // it has none
              }
            if (first.empty()) {
              first = all;
              stalled = s.step.stalled_updates;
            }
            ASSERT_EQ(all, first) << name << " " << name_of(dtype);
            ASSERT_EQ(s.step.stalled_updates, stalled) << name << " " << name_of(dtype);
          }
      }
}

TEST(OptimizerStep, UndoesLossScaleAndClips) {
  for (const auto& [name, o] : kinds()) {
    Optimized plain(DType::kF32, o, 100);
    plain.set("dw", pattern(100, 7, 0x1p-5));  // half as much
    plain.update();
    Optimized scaled(DType::kF32, o, 100);
    scaled.set("dw", pattern(100, 7, 0x1p-4 * 1024));
    scaled.step.loss_scale = 1024;
    scaled.step.clip_coefficient = 0.5;
    scaled.update();
    EXPECT_EQ(scaled.get("w"), plain.get("w")) << name;
  }
}

TEST(OptimizerStep, ASkippedStepChangesNothing) {
  for (const auto& [name, o] : kinds()) {
    Optimized s(DType::kF16, o, 100);
    s.update();
    const Numbers w = s.get("w");
    Numbers nan(100, std::numeric_limits<double>::quiet_NaN());
    s.set("dw", nan);
    s.step.finite = false;
    const int64_t stalled = s.step.stalled_updates;
    s.update();
    EXPECT_EQ(s.get("w"), w) << name;
    EXPECT_EQ(s.step.stalled_updates, stalled);
  }
}

TEST(OptimizerStep, BeginsLaterAsIfItsFirstStepWasThen) {
  for (auto [name, o] : kinds()) {
    Optimized plain(DType::kF16, o, 100);
    o.begins = 2;
    Optimized later(DType::kF16, o, 100);
    const Numbers w = later.get("w");
    for (int64_t t = 0; t < 5; ++t) {
      later.next(t);
      if (t < 2) {
        EXPECT_EQ(later.get("w"), w) << name;
        continue;
      }
      // The same gradients and random bits, counted from one.
      plain.set("dw", pattern(100, 7 + t, 0x1p-4));
      plain.step.good_steps = static_cast<double>(t - 1);
      plain.step.step = static_cast<uint64_t>(t);
      plain.update();
      EXPECT_EQ(later.get("w"), plain.get("w")) << name;
    }
    EXPECT_NE(later.get("w"), w) << name;
  }
}

TEST(GradientGuard, LeavesOutOfTheNormWhatBeginsLater) {
  Stateful s(DType::kF32, 1, kern::Isa::kReference);
  const ValueId a = s.state("a", DType::kF32, {2});
  const ValueId c = s.state("b", DType::kF32, {2});
  s.b.add("GradientGuard", {a, c}, {{"begins", std::vector<int64_t>{0, 2}}});
  s.compile();
  s.set("a", {3, 4});
  s.set("b", {0, 12});
  for (const double t : {1.0, 2.0, 3.0}) {
    s.step.good_steps = t;
    s.compute();
    EXPECT_EQ(s.step.grad_norm, t > 2 ? 13 : 5) << t;
  }
  // What is not finite is noticed all the same.
  s.step.good_steps = 1;
  s.set("b", {0, std::numeric_limits<double>::infinity()});
  s.compute();
  EXPECT_FALSE(s.step.finite);
}

TEST(OptimizerStep, CountsUpdatesThatChangeNothing) {
  Options o;
  Optimized s(DType::kBf16, o, kCount, 3);
  s.set("w", Numbers(static_cast<size_t>(kCount), 1.0));
  Numbers dw(static_cast<size_t>(kCount), 0x1p-12);  // times lr: far below half a unit of 1 in bf16
  dw[0] = 0;                                         // no update at all
  dw[1] = 1;                                         // one that counts
  s.set("dw", dw);
  s.update();
  EXPECT_EQ(s.step.stalled_updates, kCount - 2);
  s.update();
  EXPECT_EQ(s.step.stalled_updates, 2 * (kCount - 2)) << "added up";
}

TEST(OptimizerStep, RandomBitsAreAFunctionOfSeedStreamAndStep) {
  const auto run = [](uint64_t seed, int64_t stream, uint64_t step) {
    Options o;
    o.rounding = kern::Rounding::kStochastic;
    o.stream = stream;
    Optimized s(DType::kBf16, o, 1000);
    s.set("w", Numbers(1000, 1.0));
    s.set("dw", Numbers(1000, -0x1p-6));  // times lr: half a unit of 1 in bf16
    s.step.seed = seed;
    s.step.step = step;
    s.update();
    return s.get("w");
  };
  const Numbers first = run(1, 2, 3);
  const auto up = static_cast<double>(std::count(first.begin(), first.end(), 1 + 0x1p-7));
  EXPECT_EQ(up + static_cast<double>(std::count(first.begin(), first.end(), 1.0)), 1000);
  EXPECT_NEAR(up, 500, 80);  // five standard deviations
  EXPECT_EQ(run(1, 2, 3), first);
  EXPECT_NE(run(2, 2, 3), first);
  EXPECT_NE(run(1, 3, 3), first);
  EXPECT_NE(run(1, 2, 4), first);
}

// They are numbered through the tensor, not through a chunk; and no array shares another's.
TEST(OptimizerStep, NoTwoElementsShareRandomBits) {
  Options o;
  o.kind = kern::Optimizer::kAdam;
  o.rounding = kern::Rounding::kStochastic;
  constexpr size_t kChunk = 16384;
  Optimized s(DType::kBf16, o, 2 * kChunk, 3);
  const Numbers odd(2 * kChunk, 1 + 0x1p-7);
  s.set("w", odd);
  s.set("m", odd);
  s.set("v", odd);
  s.set("dw", Numbers(2 * kChunk, 1.0));
  s.step.lr = 0x1p-8;
  s.update();
  std::vector<std::vector<bool>> up;  // of each array and chunk
  for (const char* name : {"w", "m", "v"}) {
    const Numbers stored = s.get(name);
    const double low = *std::min_element(stored.begin(), stored.end());
    for (size_t chunk = 0; chunk < 2; ++chunk) {
      up.emplace_back();
      for (size_t i = 0; i < kChunk; ++i) up.back().push_back(stored[chunk * kChunk + i] > low);
      const auto ups = std::count(up.back().begin(), up.back().end(), true);
      EXPECT_GT(ups, 100) << name;
      EXPECT_LT(ups, static_cast<int64_t>(kChunk) - 100) << name;
    }
  }
  // Bits that were shared would round up together whenever the likelier to do so does: none does without the
  // other.
  for (size_t a = 0; a < up.size(); ++a)
    for (size_t b = 0; b < a; ++b) {
      size_t only_a = 0;
      size_t only_b = 0;
      for (size_t i = 0; i < kChunk; ++i) {
        only_a += up[a][i] && !up[b][i] ? 1 : 0;
        only_b += up[b][i] && !up[a][i] ? 1 : 0;
      }
      EXPECT_GT(std::min(only_a, only_b), 20U) << "arrays and chunks " << a << " and " << b;
    }
}

TEST(OptimizerStep, StateCanBeStoredUnderAScale) {
  Options o;
  o.momentum = 0.5;
  Optimized plain(DType::kF32, o, 100);
  plain.next(0);
  plain.next(1);
  Optimized scaled(DType::kF32, o, 100);
  scaled.step.state_scale = 64;
  scaled.next(0);
  Numbers wanted = plain.get("m");
  scaled.step.read_scale = 1.0F / 64;
  scaled.step.state_scale = 16;
  scaled.next(1);
  for (double& v : wanted) v *= 16;
  EXPECT_EQ(scaled.get("m"), wanted);
  EXPECT_EQ(scaled.get("w"), plain.get("w"));
}

TEST(OptimizerStep, RefusesShapesThatDiffer) {
  EXPECT_NE(
      refusal({{DType::kF16, {2, 3}}, {DType::kF16, {3, 2}}}, "OptimizerStep", {}).find("shapes 2x3 and 3x2"),
      std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
