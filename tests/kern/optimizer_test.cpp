// Optimizer steps: equal on every instruction set, PyTorch's steps in double, exact numbers, and what
// rounding must and must not do.
#include <fstream>
#include <map>
#include <sstream>

#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Optimizers : public KernelTest {};

const std::vector<Optimizer> kKinds = {Optimizer::kSgd, Optimizer::kAdam, Optimizer::kAdamW,
                                       Optimizer::kRmsProp, Optimizer::kLion};
const std::vector<Rounding> kRoundings = {Rounding::kNearest, Rounding::kStochastic, Rounding::kKahan};

OptimizerArgs plain_args(Optimizer kind, Rounding rounding, DType dtype) {
  OptimizerArgs a{};
  a.kind = kind;
  a.rounding = rounding;
  a.dtype = dtype;
  a.grad_dtype = dtype;
  a.lr = 0.01F;
  a.grad_scale = 1;
  a.beta1 = 0.9;
  a.beta2 = 0.999;
  a.eps = 1e-8F;
  a.correction1 = 1;
  a.correction2 = 1;
  a.read_scale = 1;
  a.state_scale = 1;
  a.key_w = num::random_key(1, 1);
  a.key_m = num::random_key(1, 2);
  a.key_v = num::random_key(1, 3);
  a.step = 1;
  return a;
}

struct State {
  Buffer w, m, v, carry;
  int64_t stalled = 0;
  void step(const Kernels& k, OptimizerArgs a, const Buffer& grad) {
    a.w = w.data();
    a.grad = grad.data();
    a.m = m.data();
    a.v = v.data();
    a.carry = carry.data();
    a.n = w.size();
    a.stalled = &stalled;
    k.optimizer(a);
  }
};
State zero_state(const Buffer& w) {
  State s{w, w, w, w};
  for (int64_t i = 0; i < w.size(); ++i) {
    s.m.set(i, 0);
    s.v.set(i, 0);
    s.carry.set(i, 0);
  }
  return s;
}

TEST_F(Optimizers, EqualTheReference) {
  for (const Optimizer kind : kKinds)
    for (const Rounding rounding : kRoundings)
      for (const DType dtype : kStorages)
        for (const float momentum : {0.0F, 0.9F})
          for (const int64_t n : {0, 1, 15, 16, 17, 49, 127, 128, 129, 300})
            for (const Values grads : {Values::kPlain, Values::kSpecials}) {
              OptimizerArgs a = plain_args(kind, rounding, dtype);
              a.momentum = momentum;
              a.nesterov = n % 2 == 1;
              a.weight_decay = n % 3 == 0 ? 0 : 0.01F;
              a.grad_scale = 0x1p-10F;
              a.read_scale = 0x1p-10F;
              a.state_scale = 0x1p9F;
              a.correction1 = 0.1F;
              a.correction2 = 0.001F;
              a.first = n == 129 ? (int64_t{1} << 35) - 100 : n * 3;
              a.step = 0x123456789ULL;
              if (n % 2 == 0) a.grad_dtype = DType::kF32;
              const Buffer grad = values(a.grad_dtype, n, 2, grads, 300);
              const Buffer w = values(dtype, n, 1, grads);
              const Buffer m = values(dtype, n, 3, Values::kPlain, 100);
              const Buffer v = values(dtype, n, 4, Values::kPositive, 100);
              const Buffer carry = values(dtype, n, 5, Values::kPlain, 1e-4);
              expect_equal_everywhere("optimizer", Equality::kNan, [&](const Kernels& k) {
                State s{w, m, v, carry};
                s.step(k, a, grad);
                a.step += 1;
                s.step(k, a, grad);
                a.step -= 1;
                Buffer stalled(DType::kI64, 1);
                static_cast<int64_t*>(stalled.data())[0] = s.stalled;
                return std::vector<Buffer>{s.w, s.m, s.v, s.carry, stalled};
              });
            }
}

TEST_F(Optimizers, ChunksDontMatter) {
  for (const Isa isa : available())
    for (const Optimizer kind : kKinds) {
      OptimizerArgs a = plain_args(kind, Rounding::kStochastic, DType::kF16);
      a.momentum = 0.9F;
      const Buffer w = values(DType::kF16, 500, 1);
      const Buffer grad = values(DType::kF16, 500, 2);
      State whole = zero_state(w);
      whole.step(table(isa), a, grad);
      State parts = zero_state(w);
      for (int64_t first = 0; first < 500;) {
        const int64_t n = std::min<int64_t>(500 - first, first == 0 ? 37 : 150);
        const auto at = [&](Buffer& b) {
          return static_cast<void*>(static_cast<num::Fp16*>(b.data()) + first);
        };
        OptimizerArgs part = a;
        part.w = at(parts.w);
        part.m = at(parts.m);
        part.v = at(parts.v);
        part.grad = static_cast<const num::Fp16*>(grad.data()) + first;
        part.first = first;
        part.n = n;
        part.stalled = &parts.stalled;
        table(isa).optimizer(part);
        first += n;
      }
      EXPECT_TRUE(equal_buffers(whole.w, parts.w, Equality::kBits)) << name_of(isa);
      EXPECT_TRUE(equal_buffers(whole.m, parts.m, Equality::kBits)) << name_of(isa);
      EXPECT_EQ(whole.stalled, parts.stalled);
    }
}

std::vector<double> read_npy(const std::string& name) {
  std::ifstream file(std::string(HALFTONE_TESTS_DIR) + "/fixtures/optimizers/" + name, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_GT(all.size(), 10U) << name;
  const size_t start =
      10 + static_cast<uint8_t>(all[8]) + 256 * static_cast<size_t>(static_cast<uint8_t>(all[9]));
  EXPECT_NE(all.find("<f8"), std::string::npos) << name;
  std::vector<double> out((all.size() - start) / 8);
  std::memcpy(out.data(), all.data() + start, out.size() * 8);
  return out;
}

// Ten steps of each of PyTorch's optimizers in float64. Ours differ by the scalars, which are fp32: lr,
// momentum, decay and eps are off by up to 2^-24 each, momentum's error is multiplied by up to 1 / (1 - 0.9),
// ten steps add up: 4 * 10 * 2^-24 of the way a weight went.
TEST_F(Optimizers, FollowPyTorch) {
  const std::vector<double> start = read_npy("start.npy");
  const std::vector<double> gradients = read_npy("gradients.npy");
  const int64_t n = static_cast<int64_t>(start.size());
  std::ifstream cases(std::string(HALFTONE_TESTS_DIR) + "/fixtures/optimizers/cases.txt");
  std::string line;
  int count = 0;
  while (std::getline(cases, line)) {
    ++count;
    std::istringstream words(line);
    std::string name;
    std::string kind;
    words >> name >> kind;
    std::map<std::string, double> options;
    std::vector<double> rates;
    std::string word;
    while (words >> word) {
      const size_t equals = word.find('=');
      std::istringstream list(word.substr(equals + 1));
      std::string item;
      while (std::getline(list, item, ',')) {
        if (word.starts_with("lr=")) {
          rates.push_back(std::stod(item));
        } else {
          options[word.substr(0, equals)] = std::stod(item);
        }
      }
    }
    const Optimizer optimizer = kind == "sgd"     ? Optimizer::kSgd
                                : kind == "adam"  ? Optimizer::kAdam
                                : kind == "adamw" ? Optimizer::kAdamW
                                                  : Optimizer::kRmsProp;
    OptimizerArgs a = plain_args(optimizer, Rounding::kNearest, DType::kF64);
    a.momentum = static_cast<float>(options["momentum"]);
    a.nesterov = options["nesterov"] != 0;
    a.weight_decay = static_cast<float>(options["weight_decay"]);
    a.beta1 = options["beta1"];
    a.beta2 = optimizer == Optimizer::kRmsProp ? options["alpha"] : options["beta2"];
    a.eps = static_cast<float>(options["eps"]);
    Buffer w(DType::kF64, n);
    for (int64_t i = 0; i < n; ++i) w.set(i, start[static_cast<size_t>(i)]);
    State state = zero_state(w);
    const std::vector<double> path = read_npy(name + ".npy");
    std::vector<double> way(static_cast<size_t>(n));
    for (size_t step = 0; step < rates.size(); ++step) {
      Buffer grad(DType::kF64, n);
      for (int64_t i = 0; i < n; ++i)
        grad.set(i, gradients[step * static_cast<size_t>(n) + static_cast<size_t>(i)]);
      a.lr = static_cast<float>(rates[step]);
      a.correction1 = static_cast<float>(1 - std::pow(a.beta1, static_cast<double>(step + 1)));
      a.correction2 = static_cast<float>(1 - std::pow(a.beta2, static_cast<double>(step + 1)));
      state.step(table(Isa::kReference), a, grad);
      for (int64_t i = 0; i < n; ++i) {
        const size_t at = step * static_cast<size_t>(n) + static_cast<size_t>(i);
        const double before = step == 0 ? start[static_cast<size_t>(i)] : path[at - static_cast<size_t>(n)];
        way[static_cast<size_t>(i)] += std::abs(path[at] - before);
        EXPECT_NEAR(state.w.at(i), path[at], 40 * 0x1p-24 * way[static_cast<size_t>(i)] + 1e-15)
            << name << " step " << step << " weight " << i;
      }
    }
    EXPECT_GT(way[5], 0.001) << name;
  }
  EXPECT_GE(count, 15);
}

// Chen et al., "Symbolic Discovery of Optimization Algorithms" (arXiv 2302.06675), algorithm 2, in double. The scalars
// are fp32, so that the way of a weight is off by 2^-24 for each of lr and decay; a sign may differ where what it is
// taken of is nearly nothing.
TEST_F(Optimizers, LionIsItsPapers) {
  const std::vector<double> start = read_npy("start.npy");
  const std::vector<double> gradients = read_npy("gradients.npy");
  const size_t n = start.size();
  OptimizerArgs a = plain_args(Optimizer::kLion, Rounding::kNearest, DType::kF64);
  a.beta2 = 0.99;
  a.lr = 0.0625F;
  a.weight_decay = 0.125F;
  Buffer w(DType::kF64, static_cast<int64_t>(n));
  for (size_t i = 0; i < n; ++i) w.set(static_cast<int64_t>(i), start[i]);
  State state = zero_state(w);
  std::vector<double> x = start;
  std::vector<double> m(n);
  for (size_t step = 0; step < gradients.size() / n; ++step) {
    Buffer grad(DType::kF64, static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) grad.set(static_cast<int64_t>(i), gradients[step * n + i]);
    state.step(table(Isa::kReference), a, grad);
    for (size_t i = 0; i < n; ++i) {
      const double g = gradients[step * n + i];
      const double c = 0.9 * m[i] + 0.1 * g;
      x[i] -= 0.0625 * ((c > 0 ? 1 : c < 0 ? -1 : 0) + 0.125 * x[i]);
      m[i] = 0.99 * m[i] + 0.01 * g;
      EXPECT_NEAR(state.w.at(static_cast<int64_t>(i)), x[i], 1e-12) << step << " " << i;
      EXPECT_NEAR(state.m.at(static_cast<int64_t>(i)), m[i], 1e-12 * (1 + std::abs(m[i])))
          << step << " " << i;
    }
  }
  EXPECT_GT(std::abs(x[5] - start[5]), 0.05);
}

TEST_F(Optimizers, ExactNumbers) {
  for (const Isa isa : available()) {
    Buffer w(DType::kF16, 20);
    Buffer grad(DType::kF16, 20);
    for (int64_t i = 0; i < 20; ++i) {
      w.set(i, static_cast<double>(i));
      grad.set(i, i % 2 == 0 ? 4 : -8);
    }
    const auto stepped = [&](OptimizerArgs a) {
      State s = zero_state(w);
      a.eps = 0;
      s.step(table(isa), a, grad);
      return s.w;
    };
    OptimizerArgs sgd = plain_args(Optimizer::kSgd, Rounding::kStochastic, DType::kF16);
    sgd.lr = 1;
    sgd.grad_scale = 0.5F;
    OptimizerArgs adam = plain_args(Optimizer::kAdam, Rounding::kNearest, DType::kF16);
    adam.lr = 0.5F;
    adam.beta1 = 0;
    adam.beta2 = 0;
    OptimizerArgs rms = adam;
    rms.kind = Optimizer::kRmsProp;
    OptimizerArgs adamw = adam;
    adamw.kind = Optimizer::kAdamW;
    adamw.weight_decay = 0.5F;
    OptimizerArgs lion = adamw;
    lion.kind = Optimizer::kLion;
    const Buffer a = stepped(sgd);
    const Buffer b = stepped(adam);
    const Buffer c = stepped(rms);
    const Buffer d = stepped(adamw);
    const Buffer e = stepped(lion);
    for (int64_t i = 0; i < 20; ++i) {
      const double sign = i % 2 == 0 ? 1 : -1;
      EXPECT_EQ(a.at(i), w.at(i) - 0.5 * grad.at(i)) << name_of(isa);
      EXPECT_EQ(b.at(i), w.at(i) - 0.5 * sign) << name_of(isa);
      EXPECT_EQ(c.at(i), w.at(i) - 0.5 * sign) << name_of(isa);
      EXPECT_EQ(d.at(i), w.at(i) * 0.75 - 0.5 * sign) << name_of(isa);
      EXPECT_EQ(e.at(i), w.at(i) * 0.75 - 0.5 * sign) << name_of(isa);
    }
  }
}

// The dither is num's: element first + i of (key, step), for weights and for both states.
TEST_F(Optimizers, StochasticRoundingIsNums) {
  const int64_t n = 400;
  for (const Isa isa : available())
    for (const DType dtype : {DType::kF16, DType::kBf16}) {
      OptimizerArgs a = plain_args(Optimizer::kSgd, Rounding::kStochastic, dtype);
      a.grad_dtype = DType::kF32;
      a.lr = 0.001F;
      a.momentum = 0.5F;
      a.first = 1003;
      a.step = 99;
      a.state_scale = 1024;
      // The whole range of magnitudes: subnormal, normal and overflowing results.
      Buffer w = values(dtype, n, 1);
      Buffer grad = values(DType::kF32, n, 2);
      for (int64_t i = 0; i < n; ++i) {
        w.set(i, w.at(i) * std::exp2(static_cast<double>(i % 40 - 24)));
        grad.set(i, grad.at(i) * std::exp2(static_cast<double>(i % 37 - 16)));
      }
      w.set(3, 65504);
      grad.set(3, -60000);
      State s = zero_state(w);
      s.step(table(isa), a, grad);
      int moved = 0;
      for (int64_t i = 0; i < n; ++i) {
        const float g = static_cast<float>(grad.at(i));
        const float next = static_cast<float>(w.at(i)) + -0.001F * g;
        const uint16_t r_w = num::random16(a.key_w, static_cast<uint64_t>(a.first + i), a.step);
        const uint16_t r_m = num::random16(a.key_m, static_cast<uint64_t>(a.first + i), a.step);
        const auto bits_of = [&](const Buffer& b) { return static_cast<const uint16_t*>(b.data())[i]; };
        const bool half = dtype == DType::kF16;
        EXPECT_EQ(bits_of(s.w),
                  half ? num::to_fp16_stochastic(next, r_w).bits : num::to_bf16_stochastic(next, r_w).bits)
            << i << " " << name_of(isa);
        EXPECT_EQ(bits_of(s.m), half ? num::to_fp16_stochastic(g * 1024, r_m).bits
                                     : num::to_bf16_stochastic(g * 1024, r_m).bits)
            << i << " " << name_of(isa);
        if (bits_of(s.w) != bits_of(w)) ++moved;
      }
      EXPECT_GT(moved, n / 4);
      EXPECT_LT(moved, n);
    }
}

TEST_F(Optimizers, ZeroGradientsChangeNothing) {
  for (const Isa isa : available())
    for (const Optimizer kind : kKinds)
      for (const Rounding rounding : kRoundings)
        for (const DType dtype : kStorages) {
          OptimizerArgs a = plain_args(kind, rounding, dtype);
          a.momentum = 0.9F;
          const Buffer w = values(dtype, 50, 1);
          State s = zero_state(w);
          const State zero = s;
          s.step(table(isa), a, zero.m);
          EXPECT_TRUE(equal_buffers(w, s.w, Equality::kBits)) << name_of(isa);
          EXPECT_EQ(s.stalled, 0);
        }
}

// Numerics, section 3: updates below half a last place vanish under nearest rounding, not under the others.
TEST_F(Optimizers, SmallUpdatesSurviveStochasticAndKahanAndAreCountedUnderNearest) {
  const int64_t n = 256;
  for (const Isa isa : available())
    for (const Rounding rounding : kRoundings) {
      OptimizerArgs a = plain_args(Optimizer::kSgd, rounding, DType::kF16);
      a.lr = 1e-4F;
      Buffer w(DType::kF16, n);
      Buffer grad(DType::kF16, n);
      for (int64_t i = 0; i < n; ++i) {
        w.set(i, 1);
        grad.set(i, 1);
      }
      State s = zero_state(w);
      for (int step = 0; step < 500; ++step) {
        a.step = static_cast<uint64_t>(step);
        s.step(table(isa), a, grad);
      }
      double mean = 0;
      for (int64_t i = 0; i < n; ++i) mean += s.w.at(i) / static_cast<double>(n);
      if (rounding == Rounding::kNearest) {
        EXPECT_EQ(mean, 1);
        EXPECT_EQ(s.stalled, 500 * n);
      } else {
        // 0.05 in all. Stochastic: 500 draws of variance below 2^-22 each, over 256 weights: 5 sigma is
        // 0.0034 (2^-11 * sqrt(500) / 16 * 5).
        EXPECT_NEAR(mean, 0.95, rounding == Rounding::kKahan ? 0x1p-11 : 0.0034) << name_of(isa);
        EXPECT_LT(s.stalled, 500 * n);
      }
    }
}

TEST_F(Optimizers, OverflowStaysVisible) {
  for (const Isa isa : available())
    for (const Rounding rounding : kRoundings) {
      OptimizerArgs a = plain_args(Optimizer::kSgd, rounding, DType::kF16);
      a.lr = 1;
      a.grad_dtype = DType::kF32;
      Buffer w(DType::kF16, 3);
      Buffer grad(DType::kF32, 3);
      for (int64_t i = 0; i < 3; ++i) w.set(i, 60000);
      grad.set(0, -1e5);
      grad.set(1, std::numeric_limits<double>::infinity());
      grad.set(2, std::nan(""));
      State s = zero_state(w);
      s.step(table(isa), a, grad);
      EXPECT_EQ(s.w.at(0), std::numeric_limits<double>::infinity()) << name_of(isa);
      EXPECT_EQ(s.w.at(1), -std::numeric_limits<double>::infinity()) << name_of(isa);
      EXPECT_TRUE(std::isnan(s.w.at(2))) << name_of(isa);
    }
}

}  // namespace
}  // namespace halftone::kern::test
