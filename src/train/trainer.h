// The loop: batches in, optimizer steps, schedule, loss scale, evaluation, checkpoints. No loops over tensor
// elements.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "train/batch_statistics.h"
#include "train/early_stopping.h"
#include "train/identity.h"
#include "train/loss_scale.h"
#include "train/network.h"
#include "train/noticed.h"
#include "train/observer.h"
#include "train/progress.h"
#include "train/schedule.h"

namespace halftone::train {

struct TrainerOptions {
  int64_t epochs = 1;
  int64_t max_steps = 0;   // ends the run after so many optimizer steps; 0: after the epochs
  int64_t accumulate = 1;  // micro-batches a step
  double lr = 0.01;
  Schedule schedule;
  int64_t warmup_steps = 0;
  double clip_norm = 0;  // 0: none
  std::string loss_scale = "auto";
  uint64_t seed = 0;
  std::string folder;            // events, checkpoints; empty: none are written
  std::string config;            // what config.yaml there is to say; empty: it stays as it is
  std::vector<std::string> classes;  // names of the data's classes, kept in checkpoints and in classes.txt; may be empty
  int64_t checkpoint_every = 0;  // steps; at the end of each epoch besides
  double checkpoint_minutes = 10;  // and so long after the last one; 0: not by time
  Identity identity;               // of this run; empty: a resume is not checked
  std::map<std::string, std::string> origin;  // kept in checkpoints: "model", the path; "precision"
  bool accept_changes = false;     // resume although it differs from the checkpoint's
  std::function<void()> begun;     // called when the folder is this run's and its first step is next
  int64_t keep_checkpoints = 2;
  int64_t log_every = 10;           // steps
  std::optional<int64_t> patience;  // evaluations without improvement before stopping early
  double min_delta = 0;
  bool watch_accuracy = false;    // what "best" means: the highest accuracy instead of the lowest loss
  bool keep_best = false;         // end with the best evaluated weights instead of the last
  double time_limit_seconds = 0;  // 0: none
  StatisticsChoice statistics = StatisticsChoice::kAuto;  // of batch norms, for evaluation and the written file
  // Of training batches, and of an evaluation's.
  NoticedInfinities::Check check_batch;
  NoticedInfinities::Check check_evaluated;
};

struct TrainResult {
  int64_t steps = 0;
  double epochs = 0;
  int64_t samples = 0;               // trained on, repeats counted
  std::optional<double> train_loss;  // mean over the last epoch's steps
  std::optional<Score> validation;   // of the weights as they are now
  double seconds =
      0;  // in steps, without evaluation and checkpoints; earlier parts of a resumed run included
  double data_wait_seconds = 0;  // of these, waiting for batches to be read and prepared
  int64_t skipped_steps = 0;
  int64_t stalled_updates = 0;
  int64_t best_step = -1;   // which step's weights are in the network when keep_best took effect
  std::string stop_reason;  // empty: ran to its end
  // Of the weights as they are now; measured ones have taken the running ones' place in the network.
  StatisticsReport statistics;
};

// What optimizer state is stored times (StepState::state_scale). In fp16 a power of two, so that small values don't
// vanish: as far below the loss scale as momentum can grow (1 / (1 - momentum) times the gradients), and by another
// factor of two for weight decay, so that finite scaled gradients never overflow it.
float optimizer_state_scale(const pass::TrainingOptions& options, double loss_scale);

// What is trained on.
struct Samples {
  // Delivers the batches, epoch by epoch; null: they are given, one step after the other.
  data::Loader* loader = nullptr;
  const data::Dataset* set = nullptr;  // of the batches, for messages
};

class Trainer {
 public:
  // `validation` may be null.
  Trainer(Network& network, const Samples& samples, data::Loader* validation, const TrainerOptions& options,
          Progress& progress);
  ~Trainer();

  // It is told of each step and so on, after the folder's records and the progress line. It must outlive the trainer.
  void observe(Observer& observer);

  // Trains from the network's present weights, or, when `resume`, from the newest intact checkpoint in
  // options.folder (from the start when there is none; damaged ones are named in a warning and set aside). The folder
  // must be this run's (RunFolder); a new one removes what an earlier run left there.
  // Whatever ends it early (an error, a request to stop) leaves a checkpoint of the last complete step, if one can be
  // written. Errors: numerical, naming node, tensor and step; a checkpoint of another run; a full disk.
  TrainResult run(bool resume);

  // The same in parts: begin(), advance() until it returns false (nothing was left to do), end(). After an error nothing goes on.
  void begin(bool resume);
  // The next step, and what is due after it: a checkpoint, at the end of an epoch or of the run the evaluation.
  bool advance();
  // A step with batches that are given, as many as options.accumulate. Error (usage): the run has had its steps.
  void advance(std::vector<data::Batch>&& batches);
  TrainResult end();

  // The validation data with the weights as they are, which changes nothing in the run.
  Score evaluate();
  // A checkpoint of the state as it is. Error (usage): there is no folder.
  void save();
  int64_t steps() const;  // taken so far
  double loss_scale() const;  // of the next step
  // Somebody has put other values into the network: what is known of the weights as they were is forgotten.
  void weights_changed();
  // Does `work` while the network has the statistics of batch norms that a result would be written with. An Error of `work` itself, which
  // changes nothing in the run, does not end it.
  void with_result_statistics(const std::function<void()>& work);

 private:
  struct State;
  std::string state_json(const State& s) const;
  void restore(State& s, const struct Checkpoint& checkpoint);
  // Error when this run is not the checkpoint's and that was not accepted. True when its place in an epoch means other
  // samples, or none.
  bool check_identity(const Identity& was, int64_t step);
  void check_ranges(const State& s, const struct Checkpoint& checkpoint) const;
  void save(State& s, bool best, bool prunes);
  void prepare(State& s, bool resume);
  // The folder becomes this run's; what is to be resumed is read.
  void open_folder(State& s, bool resume);
  bool has_epochs() const { return training_ != nullptr; }
  int64_t usable_batches(const State& s) const;
  bool more_steps(const State& s) const;
  bool owes_evaluation(const State& s) const;
  void next_step(State& s);
  void after_step(State& s, bool ends_epoch);
  std::string stop_reason(const State& s) const;  // before its end; empty: it came to it
  template <typename F>
  auto guarded(const F& work) -> decltype(work());
  Observer* records() const;  // of a run with a folder; else null
  template <typename Report>
  void prepare_report(const Report& report);
  template <typename Report>
  void tell(const Report& report);
  // After the last step: which weights are the result, their statistics and their validation.
  void finish(State& s, TrainResult& result);
  // What a run that is stopped by an error or a request leaves.
  void save_unfinished(State& s);
  // Finds where the last step's batches stop being finite, and what helps. Throws when it is a weight, a statistic or optimizer
  // state.
  void explain(State& s);
  Circumstances circumstances(const State& s) const;
  [[noreturn]] void stop_for(const State& s, const std::string& why);
  struct Noticed;
  // Error (numerical) when the infinity spoils its step. Unless `must_decide` that may be owed.
  void consider_noticed(State& s, const Noticed& at, bool must_decide);
  // Decides what is owed.
  void decide_owed(State& s);
  // Error (numerical) when steps were made and all of them skipped.
  void require_trained(State& s);
  void leave_nothing(State& s);
  // Error (numerical) when a weight, a statistic or optimizer state is not finite.
  void require_finite(const State& s);
  // Both, before forward passes that are no training.
  void require_sound(State& s);
  template <typename F>
  auto explained(const State& s, const F& f) -> decltype(f());
  // The error that is being handled; a numerical one says which checkpoint there is.
  [[noreturn]] void rethrow_with_what_is_left(const State& s) const;
  Score validate(State& s);
  Score evaluate_now(State& s);
  class StepBatches;
  class ShowsProgress;
  // One optimizer step.
  void step(State& s, StepBatches& batches);
  // The end of an epoch, or of the run: evaluation, and a checkpoint.
  void end_epoch(State& s);
  // Batch-norm statistics for the weights as they are now.
  void measure_statistics(State& s);

  Network& network_;
  Samples samples_;
  data::Loader* training_;
  data::Loader* validation_;
  TrainerOptions options_;
  Progress& progress_;
  std::unique_ptr<ShowsProgress> shows_progress_;
  std::vector<Observer*> observers_;
  std::optional<BatchStatistics> statistics_;
  std::unique_ptr<State> s_;
};

}  // namespace halftone::train
