// How a run is trained.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "train/batch_statistics.h"
#include "train/evaluation_metrics.h"
#include "train/identity.h"
#include "train/noticed.h"
#include "train/schedule.h"

namespace halftone::train {

// A figure of the validation data that a run watches; by default the loss.
struct Watch {
  bool accuracy = false;
  const NamedMetric* metric = nullptr;  // or this one of the first loss; the network measures more then
  bool larger_is_better() const { return metric != nullptr ? metric->larger_is_better : accuracy; }
};

struct TrainerOptions {
  int64_t epochs = 1;
  int64_t max_steps = 0;   // ends the run after so many optimizer steps; 0: after the epochs
  int64_t accumulate = 1;  // micro-batches a step
  double lr = 0.01;
  Schedule schedule;
  std::function<double(int64_t step)> rate_of_step = {};  // in the place of lr, schedule and warm-up
  int64_t warmup_steps = 0;
  double clip_norm = 0;  // 0: none
  std::string loss_scale = "auto";
  uint64_t seed = 0;
  std::string folder;  // events, checkpoints; empty: none are written
  std::string config;  // what config.yaml there is to say; empty: it stays as it is
  std::vector<std::string>
      classes;  // names of the data's classes, kept in checkpoints and in classes.txt; may be empty
  int64_t checkpoint_every = 0;               // steps; at the end of each epoch besides
  double checkpoint_minutes = 10;             // and so long after the last one; 0: not by time
  Identity identity;                          // of this run; empty: a resume is not checked
  std::map<std::string, std::string> origin;  // kept in checkpoints: "model", the path; "precision"
  bool accept_changes = false;                // resume although it differs from the checkpoint's
  std::function<void()> on_begin;  // called when the folder is this run's and its first step is next
  int64_t keep_checkpoints = 2;
  int64_t log_every = 10;           // steps
  int64_t eval_every = 0;           // steps; at the end of each epoch besides; 0: there alone
  std::optional<int64_t> patience;  // evaluations without improvement before stopping early
  double min_delta = 0;
  Watch watch;  // what "best" means
  // Of early stopping: as long as one of these improves, the run goes on.
  std::vector<Watch> also_watch;
  bool keep_best = false;         // end with the best evaluated weights instead of the last
  double time_limit_seconds = 0;  // 0: none
  StatisticsChoice statistics =
      StatisticsChoice::kAuto;  // of batch norms, for evaluation and the written file
  // Of training batches, and of an evaluation's.
  NoticedInfinities::Check check_batch;
  NoticedInfinities::Check check_evaluated;
};

}  // namespace halftone::train
