// One optimizer step: forward and backward of its micro-batches, the update, and what the run has then come
// to.
#pragma once

#include "pass/training.h"
#include "train/observer.h"
#include "train/soundness.h"

namespace halftone::train {

// What optimizer state is stored times (StepState::state_scale). In fp16 a power of two, so that small values
// don't vanish: as far below the loss scale as momentum can grow (1 / (1 - momentum) times the gradients),
// and by another factor of two for weight decay, so that finite scaled gradients never overflow it.
float optimizer_state_scale(const pass::TrainingOptions& options, double loss_scale);

class TrainingStep {
 public:
  TrainingStep(Run& run, Soundness& soundness) : run_(run), soundness_(soundness) {}

  // Takes the step with Run::batches. Afterwards the state counts it, and RunState::updating still holds.
  // Error (numerical): it must not be taken, and the run ends.
  StepReport take();

 private:
  void set_numbers();
  // Forward and backward.
  Score compute();
  // True unless the step had to be skipped.
  bool update(const Score& score);
  void count(const Score& score, bool taken);
  StepReport report(Score score, bool taken) const;

  Run& run_;
  Soundness& soundness_;
  int64_t tokens_ = 0;  // of the step
};

}  // namespace halftone::train
