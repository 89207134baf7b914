// The folder of a run while it goes on: its records and its checkpoints. A run need not have a folder.
#pragma once

#include <cstdint>
#include <optional>

#include "train/observer.h"
#include "train/run.h"
#include "train/run_records.h"

namespace halftone::train {

class RunCheckpoints {
 public:
  explicit RunCheckpoints(Run& run) : run_(run) {}

  // The folder becomes this run's, if it has one. With `resume` the run goes on from the newest intact
  // checkpoint, from the start when there is none; damaged ones are named in a warning and set aside. Else
  // what an earlier run left there goes.
  void open(bool resume);
  // The time of the next checkpoint counts from now on.
  void start_clock();

  // Of a run with a folder; else null.
  Observer* records() { return records_ ? &*records_ : nullptr; }

  // After a step, by their number or by time.
  bool due() const;
  // A checkpoint of the state as it is. `prunes`: older ones go. Error (usage): there is no folder.
  CheckpointReport write(bool best, bool prunes);
  // The newest checkpoint is that of the state as it is.
  bool up_to_date() const;
  // The newest one has other weights.
  void weights_changed() { newest_evaluated_step_ = kOtherWeights; }

  // The step of the newest; -1: there is none.
  int64_t newest_step() const { return newest_step_; }
  // After a run that trained nothing the folder is free for the next.
  void leave_nothing();

 private:
  static constexpr int64_t kOtherWeights = -2;
  // Returns where the records are taken up; none: from the start.
  std::optional<RunRecords::Resumed> resume();

  Run& run_;
  std::optional<RunRecords> records_;
  int64_t newest_step_ = -1;
  int64_t newest_evaluated_step_ = -1;
  double written_at_ = 0;
};

}  // namespace halftone::train
