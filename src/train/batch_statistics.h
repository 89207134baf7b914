// Batch-norm statistics for the weights as they are (docs/numerics.md, section 11). A running average
// describes the weights of the last 1 / (1 - momentum) steps; where weights move far in that time, it doesn't
// fit those that are evaluated and written. Then the statistics are measured again, by forward passes over
// training batches. Training itself goes on with its running averages: what is measured takes their place
// only while the network is evaluated or written.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "data/loader.h"
#include "tensor/tensor.h"
#include "train/network.h"

namespace halftone::train {

enum class StatisticsChoice : uint8_t {
  kAuto,     // measured where the running ones are measurably off
  kRunning,  // never measured
  kMeasure,  // always measured
};
StatisticsChoice parse_statistics(const std::string& text);

// How far two sets of statistics of one norm are apart: mean squares, over its channels, of what that changes
// in the norm's output (before scale and shift, where a channel's variance is 1). With w = 1 / (mean of the
// two variances + epsilon), a mean that is d off changes d^2 w, and a variance that is d off changes (d w)^2
// / 4.
struct Deviation {
  double running = 0;  // the running statistics against the mean over the batches
  double spread = 0;   // one batch against another: the sample variance over batches
};

// The statistics of one norm, batch by batch: per channel the cumulative mean of the batches' means and
// (unbiased) variances, and how they spread. In fp64, batches in their order.
class CumulativeStatistics {
 public:
  explicit CumulativeStatistics(int64_t channels);
  void add(std::span<const double> mean, std::span<const double> variance);
  int64_t batches() const { return batches_; }
  std::span<const double> mean() const { return mean_.average; }
  std::span<const double> variance() const { return variance_.average; }
  // From two batches on.
  Deviation deviation(std::span<const double> running_mean, std::span<const double> running_variance,
                      double epsilon) const;

 private:
  struct Moments {  // by Welford's formula
    std::vector<double> average, squares;
    void add(std::span<const double> x, int64_t count);
  };
  int64_t batches_ = 0;
  Moments mean_, variance_;
};

// How far running statistics with this momentum, judged by so many batches, are beyond what is measurable and
// matters: above 1 they are measurably off. Infinity when they are not finite.
double excess(const Deviation& deviation, int64_t batches, double momentum);

struct StatisticsReport {
  bool measured = false;  // measured statistics are used; false: the running ones
  int64_t batches = 0;    // forward passes
  int64_t left_out = 0;   // of these, with statistics that are not finite
  // Of the norm whose running statistics are off most: its node, and how far they are off, as the square
  // roots of Deviation's values.
  std::string norm;
  double deviation = 0;
  double spread = 0;
  double seconds = 0;
};

class BatchStatistics {
 public:
  // By how many batches auto decides, and how many are measured at most: as many as an epoch has, within
  // these bounds.
  static constexpr int64_t kFewestBatches = 4;
  static constexpr int64_t kProbeBatches = 8;
  static constexpr int64_t kMostBatches = 64;
  // The epoch whose order the batches have, and those after it: no training comes so far.
  static constexpr int64_t kEpoch = int64_t{1} << 40;
  // Memory while measuring: running, measured and a batch's statistics, and their sums.
  static constexpr int64_t kBytesPerChannel = 10 * sizeof(double);

  // `training` delivers the batches: the same ones each time, prepared as training's are, in an order of
  // their own. It has to be started again afterwards. Network and loader must outlive this.
  BatchStatistics(Network& network, data::Loader& training, uint64_t seed, StatisticsChoice choice);

  // Measures, for the network's weights as they are, as the choice says. Changes nothing in the network.
  // Where no two batches have finite statistics the running ones stay, and that is an error (numerical) if
  // measuring was asked for.
  StatisticsReport measure();
  // Exchanges the running statistics in the network's store for those that the last measure() found, and
  // back; nothing happens where these are the running ones.
  void exchange();

 private:
  struct Norm;
  // One forward pass; its statistics are added where all of them are finite.
  void add_batch(std::vector<Norm>& norms, StatisticsReport& report);

  Network& network_;
  data::Loader& training_;
  uint64_t seed_;
  StatisticsChoice choice_;
  int64_t epoch_ = 0;                       // whose order the batches are taken from
  std::map<std::string, Tensor> measured_;  // by the running statistic's name; empty: the running ones
};

// Measured statistics in the network's store as long as this lives.
class ExchangedStatistics {
 public:
  explicit ExchangedStatistics(BatchStatistics& statistics) : statistics_(statistics) {
    statistics_.exchange();
  }
  ~ExchangedStatistics() { statistics_.exchange(); }
  ExchangedStatistics(const ExchangedStatistics&) = delete;
  ExchangedStatistics& operator=(const ExchangedStatistics&) = delete;

 private:
  BatchStatistics& statistics_;
};

}  // namespace halftone::train
