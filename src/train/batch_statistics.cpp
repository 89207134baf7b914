#include "train/batch_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "train/diagnosis.h"

namespace halftone::train {
namespace {

// Numbers of forward passes, for dropout's random bits, that no training reaches.
constexpr uint64_t kMicroStep = uint64_t{1} << 63;

// How many times the mean square that sampling explains: 4 is twice the standard error (fresh statistics of a
// ResNet-20 have 0.4 to 1.3 in its 19 norms).
constexpr double kSignificance = 4;
// What a norm's output may be off, in standard deviations, without an effect that could be measured.
constexpr double kTolerance = 0.01;
// The standard error that measured statistics may have.
constexpr double kStandardError = 0.015;

std::vector<double> values_of(const Tensor& tensor) {
  const Tensor wide = converted(tensor, DType::kF64);
  return {wide.as<double>().begin(), wide.as<double>().end()};
}

Tensor tensor_of(std::span<const double> values, DType dtype) {
  Tensor wide(DType::kF64, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), wide.as<double>().begin());
  return converted(wide, dtype);
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
}

}  // namespace

StatisticsChoice parse_statistics(const std::string& text) {
  if (text == "auto") return StatisticsChoice::kAuto;
  if (text == "running") return StatisticsChoice::kRunning;
  if (text == "measure") return StatisticsChoice::kMeasure;
  throw usage_error("--bn-statistics {} is not known; it is auto, running or measure", text);
}

void CumulativeStatistics::Moments::add(std::span<const double> x, int64_t count) {
  for (size_t c = 0; c < x.size(); ++c) {
    const double before = x[c] - average[c];
    average[c] += before / static_cast<double>(count);
    squares[c] += before * (x[c] - average[c]);
  }
}

CumulativeStatistics::CumulativeStatistics(int64_t channels) {
  for (Moments* m : {&mean_, &variance_}) {
    m->average.resize(static_cast<size_t>(channels));
    m->squares.resize(static_cast<size_t>(channels));
  }
}

void CumulativeStatistics::add(std::span<const double> mean, std::span<const double> variance) {
  HT_ASSERT(mean.size() == mean_.average.size() && variance.size() == mean.size());
  ++batches_;
  mean_.add(mean, batches_);
  variance_.add(variance, batches_);
}

Deviation CumulativeStatistics::deviation(std::span<const double> running_mean,
                                          std::span<const double> running_variance, double epsilon) const {
  HT_ASSERT(batches_ >= 2 && running_mean.size() == mean_.average.size() &&
            running_variance.size() == running_mean.size());
  Deviation d;
  const auto channels = static_cast<double>(running_mean.size());
  const auto freedom = static_cast<double>(batches_ - 1);
  for (size_t c = 0; c < running_mean.size(); ++c) {
    const double w = 1 / ((running_variance[c] + variance_.average[c]) / 2 + epsilon);
    const double mean = running_mean[c] - mean_.average[c];
    const double variance = running_variance[c] - variance_.average[c];
    d.running += (mean * mean * w + variance * variance * w * w / 4) / channels;
    d.spread += (mean_.squares[c] * w + variance_.squares[c] * w * w / 4) / freedom / channels;
  }
  return d;
}

double excess(const Deviation& d, int64_t batches, double momentum) {
  if (!std::isfinite(d.running)) return std::numeric_limits<double>::infinity();
  // An average over weights that stand still has a batch's variance times (1 - momentum) / (1 + momentum).
  const double m = std::clamp(momentum, 0.0, 1.0);
  const double expected = d.spread * (1 / static_cast<double>(batches) + (1 - m) / (1 + m));
  const double matters = (d.running - expected) / (kTolerance * kTolerance);
  if (expected == 0) return matters;
  return std::min(d.running / (kSignificance * expected), matters);
}

struct BatchStatistics::Norm {
  std::vector<double> running_mean, running_variance;
  CumulativeStatistics batches;
  std::vector<double> mean, variance;  // of the batch at hand
};

BatchStatistics::BatchStatistics(Network& network, data::Loader& training, uint64_t seed,
                                 StatisticsChoice choice)
    : network_(network), training_(training), seed_(seed), choice_(choice) {}

void BatchStatistics::add_batch(std::vector<Norm>& norms, StatisticsReport& report) {
  data::Batch batch;
  // Where an epoch has too few, one goes on with the next.
  const int64_t full = network_.options().batch;
  do {
    while (!training_.next(batch)) training_.start(++epoch_);
  } while (batch.count < full);  // an epoch's last, where it is kept
  network_.run_statistics(batch, seed_, kMicroStep + static_cast<uint64_t>(report.batches));
  ++report.batches;
  bool usable = true;
  for (size_t i = 0; i < norms.size(); ++i) {
    network_.read_statistics(i, norms[i].mean, norms[i].variance);
    usable = usable && all_finite(norms[i].mean) && all_finite(norms[i].variance);
  }
  if (!usable) {  // training would skip such a step
    ++report.left_out;
    return;
  }
  for (Norm& n : norms) n.batches.add(n.mean, n.variance);
}

StatisticsReport BatchStatistics::measure() {
  measured_.clear();
  StatisticsReport report;
  if (choice_ == StatisticsChoice::kRunning) return report;
  const std::vector<pass::StatisticsOfNorm>& where = network_.norms();
  if (where.empty()) return report;
  const double start = now_seconds();
  exec::Store& store = network_.store();
  std::vector<Norm> norms;
  for (const pass::StatisticsOfNorm& norm : where) {
    std::vector<double> mean = values_of(*store.find(norm.mean));
    const auto channels = static_cast<int64_t>(mean.size());
    norms.push_back(
        {std::move(mean), values_of(*store.find(norm.variance)), CumulativeStatistics(channels), {}, {}});
  }
  epoch_ = kEpoch;
  training_.start(epoch_);
  // More than an epoch has would say little more, and cost more than the training.
  const int64_t probe = std::clamp(training_.batches(), kFewestBatches, kProbeBatches);
  const int64_t most = std::clamp(training_.batches(), probe, kMostBatches);
  while (report.batches < probe) add_batch(norms, report);

  const int64_t counted = norms.front().batches.batches();
  double worst = -std::numeric_limits<double>::infinity();
  double spread = 0;
  for (size_t i = 0; counted >= 2 && i < norms.size(); ++i) {
    const Deviation d =
        norms[i].batches.deviation(norms[i].running_mean, norms[i].running_variance, where[i].epsilon);
    spread = std::max(spread, d.spread);
    const double beyond = excess(d, counted, where[i].momentum);
    if (beyond <= worst && !report.norm.empty()) continue;
    worst = beyond;
    report.norm = where[i].node;
    report.deviation = std::sqrt(d.running);
    report.spread = std::sqrt(d.spread);
  }
  if (counted < 2 && choice_ == StatisticsChoice::kMeasure)
    throw numerical_error(
        "--bn-statistics measure: {} of {} batches have statistics that are not finite\n  {}",
        report.left_out, report.batches,
        remedy(Stage::kForward, {network_.options().training.storage, /*training=*/true, /*trained=*/true}));
  report.measured = counted >= 2 && (choice_ == StatisticsChoice::kMeasure || worst > 1);
  if (report.measured) {
    const double asked =
        std::min<double>(static_cast<double>(most), std::ceil(spread / (kStandardError * kStandardError)));
    while (report.batches < most && static_cast<double>(norms.front().batches.batches()) < asked)
      add_batch(norms, report);
    for (size_t i = 0; i < norms.size(); ++i) {
      const DType dtype = store.find(where[i].mean)->dtype();
      measured_.emplace(where[i].mean, tensor_of(norms[i].batches.mean(), dtype));
      measured_.emplace(where[i].variance, tensor_of(norms[i].batches.variance(), dtype));
    }
  }
  report.seconds = now_seconds() - start;
  return report;
}

void BatchStatistics::exchange() {
  for (auto& [name, tensor] : measured_) {
    Tensor* running = network_.store().find(name);
    HT_ASSERT(running != nullptr && running->bytes() == tensor.bytes(), "{}", name);
    auto* a = static_cast<std::byte*>(running->data());
    std::swap_ranges(a, a + tensor.bytes(), static_cast<std::byte*>(tensor.data()));
  }
}

}  // namespace halftone::train
