// Where a run stands: what its checkpoints hold besides tensors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "train/early_stopping.h"
#include "train/identity.h"
#include "train/loss_scale.h"
#include "train/metrics.h"
#include "train/schedule.h"

namespace halftone::train {

struct RunState {
  RunState(LossScale scale, EarlyStopping stopping, double lr)
      : loss_scale(std::move(scale)), early(std::move(stopping)), plateau(start_plateau(lr)) {}

  LossScale loss_scale;
  EarlyStopping early;
  std::vector<EarlyStopping> also_early;  // TrainerOptions::also_watch
  PlateauState plateau;
  int64_t step = 0;  // optimizer steps taken, skipped ones included
  int64_t good_steps = 0;
  int64_t micro_steps = 0;  // forward passes
  int64_t epoch = 0;
  int64_t batch = 0;  // micro-batches of this epoch done
  int64_t samples = 0;
  int64_t stalled = 0;
  float stored_scale = 0;  // what the optimizer state was last stored with; 0: not yet
  double seconds = 0;
  double data_wait_seconds = 0;
  RunningMean loss;  // of this epoch
  int64_t correct = 0;
  int64_t targets = 0;  // that can be correct: samples, or the labels that count
  bool has_correct = false;
  std::optional<double> last_epoch_loss;
  bool stop = false;  // early stopping has ended it
  int64_t forward_skips =
      0;  // in a row: skipped steps whose forward pass was not finite, which no loss scale mends
  int64_t evaluated_step = -1;  // the last one whose evaluation was done, if it had one
  int64_t event_bytes = -1;     // of events.jsonl, when the checkpoint was written; -1: not known

  // Not in a checkpoint: weights and counters do not belong to the same step.
  bool updating = false;

  // Over this epoch so far.
  std::optional<double> accuracy() const;
  // From its first batch on.
  void start_epoch(int64_t number);
};

// What a checkpoint's state says of the run that wrote it.
struct RunOrigin {
  Identity identity;
  std::map<std::string, std::string> origin;
  std::optional<std::vector<std::string>> classes;  // none: it does not say
};

std::string to_json(const RunState& state, const RunOrigin& origin);

// What was read: `state` but for its loss scale, whose state follows when it is known that the run is the
// same.
struct ReadRunState {
  RunOrigin origin;  // without RunOrigin::origin
  LossScaleState loss_scale;
};
// Error when it is something else. Other versions' states are read, too.
ReadRunState run_state_from_json(std::string_view text, RunState& state);

// Error when the numbers do not fit each other: with right checksums they may still be another program's.
// `step`: of the checkpoint. batches_per_epoch, accumulate: as in RunLength, TrainerOptions.
void check_ranges(const RunState& state, int64_t step, int64_t batches_per_epoch, int64_t accumulate);

}  // namespace halftone::train
