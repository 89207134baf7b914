// What a run reports to its observers after each step, evaluation, epoch and checkpoint. A run's folder
// (run_records.h), the progress line (progress_observer.h) and the host of a session are such observers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/network.h"

namespace halftone::train {

struct StepReport {
  int64_t step = 0;         // steps taken, this one included
  int64_t total_steps = 0;  // of the run; 0: it has no end
  int64_t epoch = 0;        // epochs done before this step's own
  int64_t epochs = 0;       // of the run; 0: the batches come from elsewhere, and there are none
  bool last = false;        // of the run
  bool skipped = false;     // a gradient was not finite, and no weight was changed
  Score score;              // of the step's batches, before its update
  double lr = 0;
  double loss_scale = 1;  // that the step used
  double next_loss_scale = 1;
  double grad_norm = 0;
  int64_t stalled_updates = 0;
  int64_t samples = 0;  // of all steps so far
  int64_t tokens = 0;   // of this step's texts, without padding; 0: they are none
  double seconds = 0;   // in steps
  // Over the epoch so far, skipped steps left out; without epochs over all steps.
  std::optional<double> epoch_loss;
  std::optional<double> epoch_accuracy;
};

struct EvaluationReport {
  int64_t step = 0;
  int64_t epochs_done = 0;
  const Score* score = nullptr;      // of the validation data
  std::vector<Figure> figures = {};  // what else was measured, of the first loss
  // Of batch norms, where batches were looked at: their statistics were measured, or the running ones were
  // used.
  int64_t statistics_batches = 0;
  bool statistics_measured = false;
  double statistics_deviation = 0, statistics_spread = 0;
};

struct EpochReport {
  int64_t step = 0;
  int64_t epoch = 0;  // counted from 1
  std::optional<double> loss;
  std::optional<double> accuracy;
};

struct CheckpointReport {
  int64_t step = 0;
  std::string path;
  bool best = false;
};

// Errors of an observer end the run as any other. A file is opened at the first report at the earliest: what a
// folder held before goes when the run begins. After a resume, steps and epochs behind its checkpoint are
// reported again. An epoch and a checkpoint have no prepare(): what cannot be written then ends the run, and is
// not reported once more.
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  // Before the step or the evaluation counts: here belongs what may fail for lack of memory. If it throws, a
  // run that is resumed does the step or the evaluation again.
  virtual void prepare(const StepReport&) {}
  virtual void prepare(const EvaluationReport&) {}

  // It counts, whatever happens now.
  virtual void report(const StepReport&) {}
  virtual void report(const EvaluationReport&) {}
  virtual void report(const EpochReport&) {}
  virtual void report(const CheckpointReport&) {}
};

}  // namespace halftone::train
