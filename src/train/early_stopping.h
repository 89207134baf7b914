// Early stopping: ends a run when the watched metric has not improved for `patience` evaluations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "train/schedule.h"

namespace halftone::train {

struct EarlyStoppingState {
  std::optional<double> best;  // none before the first finite metric
  int64_t best_step = -1;      // the step of `best`; -1: none
  int64_t bad_evaluations = 0;
  bool operator==(const EarlyStoppingState&) const = default;
};

class EarlyStopping {
 public:
  // patience: evaluations without improvement after which should_stop() holds, >= 1; none: never, `best` is
  // still kept. An improvement is more than min_delta >= 0 better than the best so far. Usage error for other
  // values.
  EarlyStopping(Direction mode, std::optional<int64_t> patience, double min_delta = 0);

  // After each evaluation: is this metric the best so far? A NaN or infinite one is no improvement.
  bool observe(int64_t step, double metric);
  bool should_stop() const;

  const EarlyStoppingState& state() const { return state_; }
  void restore(const EarlyStoppingState& state) { state_ = state; }

 private:
  Direction mode_;
  std::optional<int64_t> patience_;
  double min_delta_;
  EarlyStoppingState state_;
};

// {"best":...,"best_step":...,"bad_evaluations":...}, exact. from_json: Error when it is something else.
std::string to_json(const EarlyStoppingState& state);
EarlyStoppingState early_stopping_from_json(std::string_view text);

}  // namespace halftone::train
