// The progress line, as one of a run's observers.
#pragma once

#include <string>

#include "train/observer.h"
#include "train/progress.h"

namespace halftone::train {

class ProgressObserver final : public Observer {
 public:
  ProgressObserver(Progress& progress, bool shows_scale) : progress_(progress), shows_scale_(shows_scale) {}

  void report(const StepReport& step) override;
  void prepare(const EvaluationReport& evaluation) override;
  void report(const EvaluationReport& evaluation) override;

 private:
  Progress& progress_;
  bool shows_scale_;
  int64_t tokens_ = 0;
  std::string message_;
};

}  // namespace halftone::train
