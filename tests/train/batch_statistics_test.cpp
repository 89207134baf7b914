// Measured batch-norm statistics against double precision, and when they are taken.
#include "train/batch_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"

namespace halftone::train {
namespace {

using ir::ValueId;

// Rows of normal numbers, column c with mean c and standard deviation 1 + c / 2, that fall into two classes.
class Rows final : public data::Dataset {
 public:
  Rows(int64_t size, int64_t columns, unsigned seed) : columns_(columns) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < size; ++i)
      for (int64_t c = 0; c < columns; ++c)
        values_.push_back(static_cast<float>(c) + normal(random) * (1 + 0.5F * static_cast<float>(c)));
    info_.shape = {columns};
    info_.labels = data::LabelKind::kClass;
    info_.classes = 2;
  }
  int64_t size() const override { return static_cast<int64_t>(values_.size()) / columns_; }
  void read(int64_t index, data::Sample& sample) const override {
    const auto first = values_.begin() + index * columns_;
    sample.values.assign(first, first + columns_);
    sample.label = static_cast<int32_t>(index % 2);
  }
  std::string name(int64_t index) const override { return std::to_string(index); }
  std::vector<float>& values() { return values_; }

 private:
  int64_t columns_;
  std::vector<float> values_;
};

struct Case {
  int64_t columns = 5, hidden = 4, batch = 16;
  DType storage = DType::kF32;
  ops::BatchNormMode mode = ops::BatchNormMode::kTrain;
  int threads = 1;
  unsigned seed = 1;
  double momentum = 0.9;
};

// logits = BN(BN(x) W) V, so that the first norm sees the samples themselves.
Importer importer(const Case& s) {
  return [s](int64_t batch, ops::Mode mode) {
    ir::Graph graph;
    ops::Builder b(graph, s.storage);
    std::mt19937 random(s.seed);
    std::normal_distribution<float> normal;
    const auto tensor = [&](const std::string& name, const Shape& shape, ir::ValueKind kind, float constant) {
      ir::Value v;
      v.name = name;
      v.kind = kind;
      v.type = {kind == ir::ValueKind::kState ? register_type(s.storage) : s.storage, shape};
      Tensor t(DType::kF32, shape);
      for (float& x : t.as<float>()) x = std::isnan(constant) ? normal(random) : constant;
      v.data = std::make_shared<const Tensor>(std::move(t));
      return graph.add_value(std::move(v));
    };
    const float drawn = std::numeric_limits<float>::quiet_NaN();
    const auto norm = [&](const std::string& name, ValueId x, int64_t channels) {
      b.set_origin(name);
      return ops::add_batch_norm(b,
                                 {x, tensor(name + ".scale", {channels}, ir::ValueKind::kParameter, 1),
                                  tensor(name + ".shift", {channels}, ir::ValueKind::kParameter, 0),
                                  tensor(name + ".mean", {channels}, ir::ValueKind::kState, 0),
                                  tensor(name + ".variance", {channels}, ir::ValueKind::kState, 1)},
                                 1e-3, s.momentum, mode, s.mode);
    };
    ir::Value x;
    x.name = "x";
    x.kind = ir::ValueKind::kInput;
    x.type = {s.storage, {batch, s.columns}};
    graph.inputs = {graph.add_value(x)};
    const ValueId first = norm("first", graph.inputs[0], s.columns);
    const ValueId w = tensor("w", {s.columns, s.hidden}, ir::ValueKind::kParameter, drawn);
    const ValueId second = norm("second", b.add1("MatMul", {first, w}), s.hidden);
    const ValueId v = tensor("v", {s.hidden, 2}, ir::ValueKind::kParameter, drawn);
    graph.outputs = {b.add1("MatMul", {second, v})};
    return graph;
  };
}

struct Session {
  Case setup;
  std::shared_ptr<Rows> rows;
  Network network;
  data::Loader loader;

  static CompileOptions compile_options(const Case& s) {
    CompileOptions o;
    o.training.storage = s.storage;
    o.training.optimizer.rounding = kern::Rounding::kNearest;
    o.batch = s.batch;
    o.threads = s.threads;
    return o;
  }
  static data::LoaderOptions loader_options(const Case& s) {
    data::LoaderOptions o;
    o.batch = s.batch;
    o.seed = s.seed;
    o.threads = 1;
    return o;
  }
  explicit Session(const Case& s, int64_t samples = 300)
      : setup(s),
        rows(std::make_shared<Rows>(samples, s.columns, s.seed)),
        network(importer(s), compile_options(s)),
        loader(rows, loader_options(s)) {
    network.prepare_training();
  }
  BatchStatistics statistics(StatisticsChoice choice) { return {network, loader, setup.seed, choice}; }
  std::vector<double> get(const std::string& name) {
    const Tensor wide = converted(*network.store().find(name), DType::kF64);
    return {wide.as<double>().begin(), wide.as<double>().end()};
  }
  void set(const std::string& name, const std::vector<double>& values) {
    Tensor& t = *network.store().find(name);
    Tensor wide(DType::kF64, t.shape());
    std::copy(values.begin(), values.end(), wide.as<double>().begin());
    const Tensor narrow = converted(wide, t.dtype());
    std::memcpy(t.data(), narrow.data(), static_cast<size_t>(t.bytes()));
  }
  std::map<std::string, std::string> bytes() {
    std::map<std::string, std::string> all;
    for (const auto& [name, tensor] : network.store().all())
      all[name] = std::string(static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.bytes()));
    return all;
  }
};

using Matrix = std::vector<std::vector<double>>;  // by row

struct Moments {
  std::vector<double> mean, variance;
};
Moments moments(const Matrix& x) {
  const size_t channels = x.front().size();
  const auto n = static_cast<double>(x.size());
  Moments m{std::vector<double>(channels), std::vector<double>(channels)};
  for (const auto& row : x)
    for (size_t c = 0; c < channels; ++c) m.mean[c] += row[c] / n;
  for (const auto& row : x)
    for (size_t c = 0; c < channels; ++c)
      m.variance[c] += (row[c] - m.mean[c]) * (row[c] - m.mean[c]) / (n - 1);
  return m;
}

// The means over `batches` batches of the two norms' moments, in double precision, straight from the samples.
std::vector<Moments> expected(Session& s, int64_t batches) {
  std::vector<Moments> sums(2);
  const std::vector<double> w = s.get("w");
  int64_t epoch = BatchStatistics::kEpoch;
  s.loader.start(epoch);
  data::Batch batch;
  for (int64_t i = 0; i < batches; ++i) {
    while (!s.loader.next(batch)) s.loader.start(++epoch);
    Matrix x;
    for (const int64_t index : batch.indices) {
      const auto row = s.rows->values().begin() + index * s.setup.columns;
      x.emplace_back(row, row + s.setup.columns);
    }
    const auto n = static_cast<double>(x.size());
    for (size_t norm = 0; norm < 2; ++norm) {
      const Moments m = moments(x);
      sums[norm].mean.resize(m.mean.size());
      sums[norm].variance.resize(m.mean.size());
      for (size_t c = 0; c < m.mean.size(); ++c) {
        sums[norm].mean[c] += m.mean[c] / static_cast<double>(batches);
        sums[norm].variance[c] += m.variance[c] / static_cast<double>(batches);
      }
      Matrix y;
      for (const auto& row : x) {
        y.emplace_back(static_cast<size_t>(s.setup.hidden));
        for (size_t o = 0; o < y.back().size(); ++o)
          for (size_t c = 0; c < row.size(); ++c)
            y.back()[o] += (row[c] - m.mean[c]) / std::sqrt(m.variance[c] * (n - 1) / n + double{1e-3F}) *
                           w[c * static_cast<size_t>(s.setup.hidden) + o];
      }
      x = y;
    }
  }
  return sums;
}

TEST(BatchStatistics, AreTheMeansOverTheBatchesThatTrainingWouldSee) {
  std::mt19937 random(7);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 12; ++round) {
    Case setup;
    setup.columns = draw(2, 9);
    setup.hidden = draw(1, 8);
    setup.batch = draw(3, 40);
    setup.seed = static_cast<unsigned>(round + 1);
    setup.threads = draw(1, 3);
    setup.storage = round % 3 == 0 ? DType::kF64 : DType::kF32;
    Session s(setup, draw(41, 300));
    BatchStatistics statistics = s.statistics(StatisticsChoice::kMeasure);
    const std::map<std::string, std::string> before = s.bytes();
    const StatisticsReport report = statistics.measure();
    EXPECT_EQ(s.bytes(), before) << "measuring changed the network";
    ASSERT_TRUE(report.measured);
    EXPECT_GE(report.batches, std::clamp<int64_t>(s.loader.batches(), 4, 8));
    EXPECT_LE(report.batches, std::clamp<int64_t>(s.loader.batches(), 4, 64));
    EXPECT_EQ(report.left_out, 0);
    const std::vector<Moments> wanted = expected(s, report.batches);
    statistics.exchange();
    // Sums of `batch` and `columns` terms of a few units, in fp32 (or fp64) registers.
    const double epsilon = setup.storage == DType::kF64 ? 0x1p-53 : 0x1p-24;
    const double terms = 8.0 * static_cast<double>(setup.batch + setup.columns);
    for (size_t norm = 0; norm < 2; ++norm) {
      const std::string name = norm == 0 ? "first" : "second";
      const std::vector<double> mean = s.get(name + ".mean");
      const std::vector<double> variance = s.get(name + ".variance");
      ASSERT_EQ(mean.size(), wanted[norm].mean.size());
      for (size_t c = 0; c < mean.size(); ++c) {
        const double v = wanted[norm].variance[c];
        EXPECT_GT(v, 0);
        EXPECT_NEAR(mean[c], wanted[norm].mean[c], terms * epsilon * (std::sqrt(v) + std::abs(mean[c])))
            << name;
        EXPECT_NEAR(variance[c], v, terms * epsilon * (v + mean[c] * mean[c])) << name;
      }
    }
    for (const auto& [name, bytes] : s.bytes())
      EXPECT_EQ(bytes != before.at(name), name.ends_with(".mean") || name.ends_with(".variance")) << name;
    statistics.exchange();
    EXPECT_EQ(s.bytes(), before) << "the running ones came back";
  }
}

TEST(BatchStatistics, AreTheSameBitsOnAnyNumberOfThreadsAndAgain) {
  for (const DType storage : {DType::kF32, DType::kF16, DType::kBf16}) {
    std::map<std::string, std::string> first;
    for (const int threads : {1, 2, 4}) {
      Case setup;
      setup.storage = storage;
      setup.threads = threads;
      setup.columns = 40;
      setup.hidden = 60;
      setup.batch = 64;
      Session s(setup, 700);
      BatchStatistics statistics = s.statistics(StatisticsChoice::kMeasure);
      for (int again = 0; again < 2; ++again) {
        ASSERT_TRUE(statistics.measure().measured);
        statistics.exchange();
        if (first.empty()) first = s.bytes();
        EXPECT_EQ(s.bytes(), first) << threads;
        statistics.exchange();
      }
    }
  }
}

TEST(BatchStatistics, AutoLeavesRunningOnesThatFit) {
  Session s({});
  BatchStatistics measure = s.statistics(StatisticsChoice::kMeasure);
  ASSERT_TRUE(measure.measure().measured);
  measure.exchange();  // for good
  const std::map<std::string, std::string> fresh = s.bytes();
  BatchStatistics statistics = s.statistics(StatisticsChoice::kAuto);
  const StatisticsReport right = statistics.measure();
  EXPECT_FALSE(right.measured);
  EXPECT_EQ(right.batches, BatchStatistics::kProbeBatches);
  EXPECT_FALSE(right.norm.empty()) << "the message names the norm that is off most";
  statistics.exchange();
  EXPECT_EQ(s.bytes(), fresh);

  // A mean that is half a standard deviation off, in one norm.
  const std::vector<double> mean = s.get("second.mean");
  const std::vector<double> variance = s.get("second.variance");
  std::vector<double> shifted = mean;
  for (size_t c = 0; c < mean.size(); ++c) shifted[c] += 0.5 * std::sqrt(variance[c]);
  s.set("second.mean", shifted);
  const StatisticsReport off = statistics.measure();
  EXPECT_TRUE(off.measured);
  EXPECT_EQ(off.norm, "second");
  EXPECT_NEAR(off.deviation, 0.5, 0.1);
  s.set("second.mean", mean);
  // A variance that is three times too large.
  std::vector<double> wide = variance;
  for (double& v : wide) v *= 3;
  s.set("second.variance", wide);
  EXPECT_TRUE(statistics.measure().measured);
  s.set("second.variance", variance);
  EXPECT_FALSE(statistics.measure().measured);
  // One that is not finite is off, whatever else.
  wide[0] = std::numeric_limits<double>::infinity();
  s.set("second.variance", wide);
  EXPECT_TRUE(statistics.measure().measured);
}

TEST(BatchStatistics, NeverTouchFrozenNormsNorThoseThatStandStill) {
  for (const bool frozen : {true, false}) {
    Case setup;
    if (frozen) setup.mode = ops::BatchNormMode::kFreeze;
    if (!frozen) setup.momentum = 1;  // running = 1 * running + 0 * batch
    Session s(setup);
    EXPECT_TRUE(s.network.norms().empty());
    const std::map<std::string, std::string> before = s.bytes();
    for (const StatisticsChoice choice : {StatisticsChoice::kAuto, StatisticsChoice::kMeasure}) {
      BatchStatistics statistics = s.statistics(choice);
      const StatisticsReport report = statistics.measure();
      EXPECT_FALSE(report.measured);
      EXPECT_EQ(report.batches, 0);
      statistics.exchange();
      EXPECT_EQ(s.bytes(), before);
    }
  }
}

TEST(BatchStatistics, RunningNeverMeasures) {
  Session s({});
  BatchStatistics statistics = s.statistics(StatisticsChoice::kRunning);
  EXPECT_EQ(statistics.measure().batches, 0);
  const std::map<std::string, std::string> before = s.bytes();
  statistics.exchange();
  EXPECT_EQ(s.bytes(), before);
}

TEST(BatchStatistics, LeaveOutBatchesThatAreNotFinite) {
  Session s({});
  s.rows->values()[12] = std::numeric_limits<float>::infinity();
  BatchStatistics statistics = s.statistics(StatisticsChoice::kMeasure);
  const StatisticsReport some = statistics.measure();
  EXPECT_TRUE(some.measured);
  EXPECT_GT(some.left_out, 0);
  EXPECT_LT(some.left_out, some.batches);
  statistics.exchange();
  for (const double x : s.get("first.mean")) EXPECT_TRUE(std::isfinite(x));
  statistics.exchange();

  for (size_t i = 0; i < s.rows->values().size(); i += 5)
    s.rows->values()[i] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(statistics.measure(), Error);
  BatchStatistics automatic = s.statistics(StatisticsChoice::kAuto);
  const StatisticsReport none = automatic.measure();
  EXPECT_FALSE(none.measured);
  EXPECT_EQ(none.left_out, none.batches);
}

TEST(CumulativeStatistics, EqualTheMeansAndSpreadsInDoublePrecision) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  for (int round = 0; round < 50; ++round) {
    const size_t channels = 1 + static_cast<size_t>(random() % 9);
    const int batches = 2 + static_cast<int>(random() % 70);
    CumulativeStatistics all(static_cast<int64_t>(channels));
    Matrix means;
    Matrix variances;
    for (int i = 0; i < batches; ++i) {
      means.emplace_back();
      variances.emplace_back();
      for (size_t c = 0; c < channels; ++c) {
        means.back().push_back(100 + normal(random));
        variances.back().push_back(std::exp(normal(random)));
      }
      all.add(means.back(), variances.back());
    }
    EXPECT_EQ(all.batches(), batches);
    const Moments mean = moments(means);
    const Moments variance = moments(variances);
    double running = 0;
    double spread = 0;
    for (size_t c = 0; c < channels; ++c) {
      EXPECT_NEAR(all.mean()[c], mean.mean[c], 1e-12 * 100);
      EXPECT_NEAR(all.variance()[c], variance.mean[c], 1e-12 * variance.mean[c]);
      // Against a mean of 99 and a variance of 2.
      const double w = 1 / ((2 + variance.mean[c]) / 2 + 0.1);
      running += (99 - mean.mean[c]) * (99 - mean.mean[c]) * w;
      running += (2 - variance.mean[c]) * (2 - variance.mean[c]) * w * w / 4;
      spread += mean.variance[c] * w + variance.variance[c] * w * w / 4;
    }
    const Deviation d =
        all.deviation(std::vector<double>(channels, 99), std::vector<double>(channels, 2), 0.1);
    EXPECT_NEAR(d.running, running / static_cast<double>(channels), 1e-9 * running);
    EXPECT_NEAR(d.spread, spread / static_cast<double>(channels), 1e-9 * spread);
  }
}

// Running averages of statistics whose batches differ by `spread`, while the mean moves by `drift` a step.
double excess_of_average(std::mt19937& random, double momentum, double spread, double drift) {
  std::normal_distribution<double> normal(0, spread);
  constexpr size_t kChannels = 16;
  std::vector<double> mean(kChannels);
  const std::vector<double> one(kChannels, 1.0);
  double centre = 0;
  const auto batch = [&] {
    std::vector<double> x;
    for (size_t c = 0; c < kChannels; ++c) x.push_back(centre + normal(random));
    return x;
  };
  const int steps = static_cast<int>(10 / (1 - momentum));
  for (int step = 0; step < steps; ++step, centre += drift) {
    const std::vector<double> x = batch();
    for (size_t c = 0; c < kChannels; ++c) mean[c] = momentum * mean[c] + (1 - momentum) * x[c];
  }
  CumulativeStatistics measured(kChannels);
  for (int64_t i = 0; i < BatchStatistics::kProbeBatches; ++i) measured.add(batch(), one);
  return excess(measured.deviation(mean, one, 0), measured.batches(), momentum);
}

TEST(Excess, TellsStandstillFromDriftWhateverTheSpread) {
  std::mt19937 random(11);
  for (const double momentum : {0.0, 0.9, 0.99})
    for (const double spread : {0.001, 0.1, 0.5})
      for (int round = 0; round < 40; ++round) {
        EXPECT_LE(excess_of_average(random, momentum, spread, 0), 1) << momentum << " " << spread;
        // The average lags behind by what the mean moves in about 1 / (1 - momentum) steps: here by three
        // spreads.
        const double lag = 3 * spread;
        const double found = excess_of_average(random, momentum, spread, lag * (1 - momentum));
        if (lag < 0.05)
          EXPECT_LE(found, 1) << "measurable, but too little to matter";
        else
          EXPECT_GT(found, 1) << momentum << " " << spread;
      }
}

TEST(Excess, EndsWell) {
  EXPECT_LE(excess({0, 0}, 8, 0.9), 1);
  EXPECT_GT(excess({1, 0}, 8, 0.9), 1) << "every batch has the same statistics";
  EXPECT_GT(excess({std::numeric_limits<double>::quiet_NaN(), 1}, 8, 0.9), 1);
  EXPECT_GT(excess({1, 0.01}, 8, -3.0), 1);
}

}  // namespace
}  // namespace halftone::train
