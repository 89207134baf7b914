// What the parts of a run work on together: its network and options, how long it is, where it stands, its
// batches.
#pragma once

#include <cstdint>
#include <limits>

#include "train/network.h"
#include "train/progress.h"
#include "train/run_state.h"
#include "train/step_batches.h"
#include "train/trainer_options.h"

namespace halftone::train {

struct RunLength {
  int64_t total_steps = 0;      // 0: it has no end
  int64_t steps_per_epoch = 0;  // 0: there are no epochs, as the batches are given
  // Micro-batches of an epoch that make whole steps.
  int64_t batches_per_epoch = std::numeric_limits<int64_t>::max();

  bool has_epochs() const { return steps_per_epoch > 0; }
  // As --steps has it, or --epochs.
  int64_t epochs() const { return has_epochs() ? (total_steps + steps_per_epoch - 1) / steps_per_epoch : 0; }
};

struct Run {
  Network& network;
  const data::Dataset& samples;  // what is trained on, for messages
  const TrainerOptions& options;
  Progress& progress;
  RunLength length;
  RunState state;
  StepBatches batches;

  // Steps of this epoch are left.
  bool in_epoch() const {
    return state.batch < length.batches_per_epoch &&
           (length.total_steps == 0 || state.step < length.total_steps);
  }
};

}  // namespace halftone::train
