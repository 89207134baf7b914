// Softmax and the losses.
#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Losses : public KernelTest {};

const std::vector<int64_t> kColumns = {1, 2, 3, 10, 15, 16, 17, 32, 33, 100, 2048, 2100};

TEST_F(Losses, SoftmaxEqualsTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t cols : kColumns)
      for (const Values kind : {Values::kPlain, Values::kSpecials})
        for (const bool log : {false, true}) {
          const int64_t rows = 3;
          const Buffer x = values(dtype, rows * cols, static_cast<uint32_t>(cols), kind, 4);
          const Buffer dy = values(dtype, rows * cols, 7, kind);
          expect_equal_everywhere("softmax", Equality::kNan, [&](const Kernels& k) {
            Buffer y = x;  // in place
            k.softmax({dtype, y.data(), y.data(), rows, cols, log});
            Buffer dx(dtype, rows * cols);
            k.softmax_grad({dtype, y.data(), dy.data(), dx.data(), rows, cols, log});
            return std::vector<Buffer>{y, dx};
          });
        }
}

// What is kept of a row gives the same shares once more, whatever else the row has become.
TEST_F(Losses, SoftmaxFromWhatIsKept) {
  for (const DType dtype : kStorages)
    for (const int64_t cols : kColumns)
      for (const Values kind : {Values::kPlain, Values::kSpecials}) {
        const int64_t rows = 3;
        const Buffer x = values(dtype, rows * cols, static_cast<uint32_t>(cols), kind, 4);
        expect_equal_everywhere("softmax", Equality::kNan, [&](const Kernels& k) {
          Buffer max(register_type(dtype), rows);
          Buffer sum(register_type(dtype), rows);
          Buffer plain = x;
          Buffer y = x;
          Buffer again = x;
          k.softmax({dtype, plain.data(), plain.data(), rows, cols, false});
          k.softmax({dtype, y.data(), y.data(), rows, cols, false, max.data(), sum.data()});
          k.softmax({dtype, again.data(), again.data(), rows, cols, false, max.data(), sum.data(), true});
          for (int64_t i = 0; i < rows * cols; ++i) {
            const bool same = plain.at(i) == y.at(i) && y.at(i) == again.at(i);
            EXPECT_TRUE(same || (std::isnan(plain.at(i)) && std::isnan(y.at(i)) && std::isnan(again.at(i))));
          }
          for (int64_t r = 0; kind == Values::kPlain && r < rows; ++r) {
            double largest = x.at(r * cols);
            for (int64_t c = 0; c < cols; ++c) largest = std::max(largest, x.at(r * cols + c));
            EXPECT_EQ(max.at(r), largest);
            EXPECT_GE(sum.at(r), 1);
          }
          return std::vector<Buffer>{again, max, sum};
        });
      }
}

TEST_F(Losses, SoftmaxIsRight) {
  const int64_t rows = 4;
  const int64_t cols = 37;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    for (const bool log : {false, true}) {
      const Kernels& k = table(Isa::kReference);
      const Buffer x = values(dtype, rows * cols, 1, Values::kPlain, 3);
      const Buffer dy = values(dtype, rows * cols, 2);
      Buffer y(dtype, rows * cols);
      Buffer dx(dtype, rows * cols);
      k.softmax({dtype, x.data(), y.data(), rows, cols, log});
      k.softmax_grad({dtype, y.data(), dy.data(), dx.data(), rows, cols, log});
      ASSERT_TRUE(varies(y) && varies(dx));
      const DType reg = register_type(dtype);
      for (int64_t r = 0; r < rows; ++r) {
        double max = -1e300;
        for (int64_t c = 0; c < cols; ++c) max = std::max(max, x.at(r * cols + c));
        double sum = 0;
        for (int64_t c = 0; c < cols; ++c) sum += std::exp(x.at(r * cols + c) - max);
        double dot = 0;
        double dot_magnitude = 0;
        for (int64_t c = 0; c < cols; ++c) {
          const int64_t i = r * cols + c;
          const double shifted = x.at(i) - max;
          const double want = log ? shifted - std::log(sum) : std::exp(shifted) / sum;
          // exp's argument carries |shifted| units, the sum a few more, the store one of the type.
          const double bound = log ? (8 + 2 * std::abs(want)) * epsilon(reg) + epsilon(dtype) * std::abs(want)
                                   : ((12 + std::abs(shifted)) * epsilon(reg) + epsilon(dtype)) * want +
                                         smallest_normal(dtype) * epsilon(dtype) * 2;
          EXPECT_NEAR(y.at(i), want, bound);
          dot += log ? dy.at(i) : dy.at(i) * y.at(i);
          dot_magnitude += log ? std::abs(dy.at(i)) : std::abs(dy.at(i) * y.at(i));
        }
        for (int64_t c = 0; c < cols; ++c) {
          const int64_t i = r * cols + c;
          // From the stored y, as the kernel does.
          const double want = log ? dy.at(i) - std::exp(y.at(i)) * dot : y.at(i) * (dy.at(i) - dot);
          const double scale = log ? 1 : std::abs(y.at(i));
          EXPECT_NEAR(dx.at(i), want,
                      16 * epsilon(reg) * scale * (std::abs(dy.at(i)) + dot_magnitude) +
                          epsilon(dtype) * std::abs(want) + smallest_normal(dtype) * epsilon(dtype) * 2);
        }
      }
    }
}

TEST_F(Losses, CrossEntropyEqualsTheReference) {
  for (const DType dtype : kStorages)
    for (const int64_t cols : kColumns)
      for (const Values kind : {Values::kPlain, Values::kSpecials})
        for (const float smoothing : {0.0F, 0.1F}) {
          const int64_t rows = 5;
          const Buffer x = values(dtype, rows * cols, static_cast<uint32_t>(cols) + 3, kind, 4);
          std::vector<int32_t> labels;
          for (int64_t r = 0; r < rows; ++r) labels.push_back(static_cast<int32_t>(r * 7 % cols));
          for (const bool with_gradient : {true, false})
            expect_equal_everywhere("cross_entropy", Equality::kNan, [&](const Kernels& k) {
              Buffer loss(DType::kF32, rows);
              Buffer correct(DType::kI32, rows);
              Buffer dx(dtype, with_gradient ? rows * cols : 0);
              k.cross_entropy({dtype, x.data(), labels.data(), rows, cols, smoothing, 1024.0F, loss.data(),
                               static_cast<int32_t*>(correct.data()), with_gradient ? dx.data() : nullptr});
              return std::vector<Buffer>{loss, correct, dx};
            });
        }
}

TEST_F(Losses, CrossEntropyIsRight) {
  const int64_t rows = 200;
  const int64_t cols = 10;
  for (const float smoothing : {0.0F, 0.1F}) {
    const Buffer x = values(DType::kF64, rows * cols, 9, Values::kPlain, 2);
    std::vector<int32_t> labels;
    for (int64_t r = 0; r < rows; ++r) labels.push_back(static_cast<int32_t>(r * 3 % cols));
    Buffer loss(DType::kF64, rows);
    Buffer dx(DType::kF64, rows * cols);
    std::vector<int32_t> correct(rows, -1);
    table(Isa::kReference)
        .cross_entropy({DType::kF64, x.data(), labels.data(), rows, cols, smoothing, 3.0F, loss.data(),
                        correct.data(), dx.data()});
    int hits = 0;
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      int64_t best = 0;
      for (int64_t c = 0; c < cols; ++c) {
        sum += std::exp(x.at(r * cols + c));
        if (x.at(r * cols + c) > x.at(r * cols + best)) best = c;
      }
      const double s = smoothing;
      double want = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double log_p = x.at(r * cols + c) - std::log(sum);
        const double target = (c == labels[static_cast<size_t>(r)] ? 1 - s : 0) + s / cols;
        want -= target * log_p;
        EXPECT_NEAR(dx.at(r * cols + c), 3 * (std::exp(log_p) - target), 1e-14);
      }
      EXPECT_NEAR(loss.at(r), want, 1e-13);
      EXPECT_EQ(correct[static_cast<size_t>(r)], best == labels[static_cast<size_t>(r)] ? 1 : 0);
      hits += correct[static_cast<size_t>(r)];
    }
    EXPECT_GT(hits, 0);
    EXPECT_LT(hits, rows);
  }
}

TEST_F(Losses, FirstMaximumIsThePrediction) {
  std::vector<float> x(40, 0.0F);
  x[20] = 5;
  x[33] = 5;
  for (const Isa isa : available())
    for (const int32_t label : {20, 33, 0}) {
      float loss = 0;
      int32_t correct = -1;
      table(isa).cross_entropy({DType::kF32, x.data(), &label, 1, 40, 0, 1, &loss, &correct, nullptr});
      EXPECT_EQ(correct, label == 20 ? 1 : 0) << name_of(isa);
    }
}

const std::vector<PointwiseLoss> kPointwise = {PointwiseLoss::kSquaredError,
                                               PointwiseLoss::kBinaryCrossEntropy,
                                               PointwiseLoss::kBinaryCrossEntropyWithLogits};

Buffer probabilities(DType dtype, int64_t n, uint32_t seed) {
  Buffer p = values(dtype, n, seed, Values::kPlain, 2);
  for (int64_t i = 0; i < n; ++i) p.set(i, 1 / (1 + std::exp(-p.at(i))));
  if (n > 3) {
    p.set(1, 0);
    p.set(2, 1);
  }
  return p;
}

TEST_F(Losses, PointwiseEqualsTheReference) {
  for (const PointwiseLoss kind : kPointwise)
    for (const DType dtype : kStorages)
      for (const int64_t n : lengths())
        for (const bool specials : {false, true}) {
          Buffer x = specials ? values(dtype, n, 5, Values::kSpecials, 2) : probabilities(dtype, n, 5);
          const Buffer t = probabilities(DType::kF32, n, 6);
          expect_equal_everywhere("pointwise_loss", Equality::kNan, [&](const Kernels& k) {
            Buffer loss(DType::kF32, 1);
            Buffer dx(dtype, n);
            k.pointwise_loss({kind, dtype, x.data(), t.data(), n, 0.5F, loss.data(), dx.data()});
            Buffer only(DType::kF32, 1);
            k.pointwise_loss({kind, dtype, x.data(), t.data(), n, 0.5F, only.data(), nullptr});
            EXPECT_TRUE(equal_buffers(loss, only, Equality::kNan));
            return std::vector<Buffer>{loss, dx};
          });
        }
}

TEST_F(Losses, PointwiseIsRight) {
  const int64_t n = 300;
  for (const PointwiseLoss kind : kPointwise) {
    const Buffer x = kind == PointwiseLoss::kBinaryCrossEntropy
                         ? probabilities(DType::kF64, n, 1)
                         : values(DType::kF64, n, 1, Values::kPlain, 3);
    const Buffer t = probabilities(DType::kF64, n, 2);
    Buffer loss(DType::kF64, 1);
    Buffer dx(DType::kF64, n);
    table(Isa::kReference)
        .pointwise_loss({kind, DType::kF64, x.data(), t.data(), n, 2.0F, loss.data(), dx.data()});
    double want = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double v = x.at(i);
      const double target = t.at(i);
      double slope = 0;
      if (kind == PointwiseLoss::kSquaredError) {
        want += (v - target) * (v - target);
        slope = 2 * (v - target);
      } else if (kind == PointwiseLoss::kBinaryCrossEntropy) {
        want -= target * std::max(std::log(v), -100.0) + (1 - target) * std::max(std::log(1 - v), -100.0);
        slope = (v - target) / std::max((1 - v) * v, double{1e-12F});
      } else {
        want += std::max(v, 0.0) - v * target + std::log1p(std::exp(-std::abs(v)));
        slope = 1 / (1 + std::exp(-v)) - target;
      }
      EXPECT_NEAR(dx.at(i), 2 * slope, 1e-13 * (1 + std::abs(slope)));
    }
    EXPECT_NEAR(loss.at(0), want, 1e-12 * (1 + want));
    EXPECT_GT(want, 1);
  }
}

}  // namespace
}  // namespace halftone::kern::test
