// The averages of the weights (--ema): what is evaluated and written in their place.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "train/run.h"

namespace halftone::train {

class WeightAverages {
 public:
  explicit WeightAverages(Run& run) : run_(run) {}

  // Each trained tensor and its average change places; twice is as before. Nothing happens where the run has no averages,
  // or no step was taken that they could begin with.
  void exchange();

 private:
  Run& run_;
};

// For a while.
class ExchangedAverages {
 public:
  explicit ExchangedAverages(WeightAverages& averages) : averages_(averages) { averages_.exchange(); }
  ~ExchangedAverages() { averages_.exchange(); }
  ExchangedAverages(const ExchangedAverages&) = delete;
  ExchangedAverages& operator=(const ExchangedAverages&) = delete;

 private:
  WeightAverages& averages_;
};

}  // namespace halftone::train
