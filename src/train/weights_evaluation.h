// What is known of the weights as they are (or of their averages, where the run has these): which statistics of batch norms belong to them, and their score
// on the validation data. Training and its checkpoints keep the running statistics.
#pragma once

#include <functional>
#include <optional>

#include "train/weight_averages.h"
#include "train/batch_statistics.h"
#include "train/soundness.h"

namespace halftone::train {

class WeightsEvaluation {
 public:
  // training: to measure statistics with; null: there are none to measure. validation: null when there is no
  // such data.
  WeightsEvaluation(Run& run, Soundness& soundness, data::Loader* training, data::Loader* validation);

  bool has_data() const { return validation_ != nullptr; }
  // Other weights.
  void forget();
  // Known or done now.
  const StatisticsReport& statistics();
  const Score& score();
  // Done anew, and not known until keep().
  Score evaluate();
  void keep(Score score) { score_ = std::move(score); }
  const std::optional<Score>& known_score() const { return score_; }
  // Does `work` while the network has the statistics that a result would be written with.
  void with_statistics(const std::function<void()>& work);
  // They take the running ones' place for good, and the score is that of the network as it is written.
  void finish();

 private:
  void measure();

  Run& run_;
  Soundness& soundness_;
  data::Loader* validation_;
  WeightAverages averages_;
  std::optional<BatchStatistics> norms_;
  std::optional<StatisticsReport> statistics_;
  std::optional<Score> score_;
};

}  // namespace halftone::train
