#include "train/weights_evaluation.h"

namespace halftone::train {

WeightsEvaluation::WeightsEvaluation(Run& run, Soundness& soundness, data::Loader* training,
                                     data::Loader* validation)
    : run_(run), soundness_(soundness), validation_(validation), averages_(run) {
  if (training != nullptr) norms_.emplace(run.network, *training, run.options.seed, run.options.statistics);
}

void WeightsEvaluation::forget() {
  statistics_.reset();
  score_.reset();
}

const StatisticsReport& WeightsEvaluation::statistics() {
  if (!statistics_) {
    const ExchangedAverages averages(averages_);
    measure();
  }
  return *statistics_;
}

void WeightsEvaluation::measure() {
  soundness_.require_sound();  // else its batches are not finite, which names no cause
  if (!norms_) {               // no loader, no batches to measure over
    statistics_.emplace();
    return;
  }
  run_.batches.lose_place();
  statistics_ = soundness_.explained([&] { return norms_->measure(); });
  const StatisticsReport& r = *statistics_;
  if (r.left_out > 0)
    run_.progress.warning(
        fmt::format("warning: batch norms: {} of {} batches for measuring statistics were left out, because "
                    "theirs are not finite",
                    r.left_out, r.batches));
  if (r.measured)
    run_.progress.message(
        fmt::format("batch norms: the running statistics are {:.2f} standard deviations off at {} (one batch "
                    "differs from another by "
                    "{:.2f}); measured for these weights over {} batches in {:.1f} s",
                    r.deviation, r.norm, r.spread, r.batches, r.seconds));
}

Score WeightsEvaluation::evaluate() {
  const ExchangedAverages averages(averages_);
  measure();
  if (!norms_) return soundness_.evaluate(*validation_);
  const ExchangedStatistics exchanged(*norms_);
  return soundness_.evaluate(*validation_);
}

const Score& WeightsEvaluation::score() {
  if (!score_) score_ = evaluate();
  return *score_;
}

void WeightsEvaluation::with_statistics(const std::function<void()>& work) {
  const ExchangedAverages averages(averages_);
  if (!statistics_) measure();
  if (!norms_) return work();
  const ExchangedStatistics exchanged(*norms_);
  work();
}

void WeightsEvaluation::finish() {
  averages_.exchange();
  if (!statistics_) measure();
  if (norms_) norms_->exchange();
  if (!score_ && validation_ != nullptr) score_ = soundness_.evaluate(*validation_);
}

}  // namespace halftone::train
