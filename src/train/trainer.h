// The loop: batches in, optimizer steps, evaluations, checkpoints. No loops over tensor elements.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "train/network.h"
#include "train/observer.h"
#include "train/progress.h"
#include "train/progress_observer.h"
#include "train/trainer_options.h"

namespace halftone::train {

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

  // It gets the reports on each step and so on, after the folder's records and the progress line. It must
  // outlive the trainer.
  void observe(Observer& observer);

  // A run is begin(), advance() until it returns false (nothing was left to do), end().
  // It trains from the network's present weights, or, when `resume`, from the newest intact checkpoint in
  // options.folder (from the start when there is none; damaged ones are named in a warning and set aside).
  // The folder must be this run's (RunFolder); a new one removes what an earlier run left there. Whatever
  // ends it early (an error, a request to stop) leaves a checkpoint of the last complete step, if one can be
  // written; then nothing goes on. Errors: numerical, naming node, tensor and step; a checkpoint of another
  // run; a full disk.
  void begin(bool resume);
  // The next step, and what is due after it: a checkpoint, at the end of an epoch or of the run the
  // evaluation.
  bool advance();
  // A step with batches that are given, as many as options.accumulate. Error (usage): the run has had its
  // steps.
  void advance(std::vector<data::Batch>&& batches);
  TrainResult end();

  // The validation data with the weights as they are, which changes nothing in the run.
  Score evaluate();
  // A checkpoint of the state as it is. Error (usage): there is no folder.
  void save();
  int64_t steps() const;      // taken so far
  double loss_scale() const;  // of the next step
  // Other values were put into the network: what is known of the weights as they were is forgotten.
  void weights_changed();
  // Does `work` while the network has the statistics of batch norms that a result would be written with. An
  // Error of `work` itself, which changes nothing in the run, does not end it.
  void with_result_statistics(const std::function<void()>& work);

 private:
  // Whatever ends `work` early leaves what a run can be continued from.
  template <typename Work>
  auto guarded(const Work& work) -> decltype(work());
  void prepare(bool resume);
  bool more_steps() const;
  bool owes_evaluation() const;
  std::string stop_reason() const;  // before its end; empty: it came to it
  // The next step of an epoch, or what is left of one.
  void next_step();
  bool evaluates_now() const;  // within an epoch (--eval-every)
  // With Run::batches, and what is due after it. ends_epoch: the step is saved after its evaluation.
  void step();
  void after_step(bool ends_epoch);
  // The end of an epoch, or of the run: evaluation, and a checkpoint.
  void end_epoch();
  void save(bool best, bool prunes);
  // What a run that is stopped by an error or a request leaves.
  void save_unfinished();
  void save_after(bool numerical_error);
  // After the last step: which weights are the result, their statistics and their validation.
  void finish(TrainResult& result);
  int64_t load_best();
  // The error that is being handled; a numerical one says which checkpoint there is.
  [[noreturn]] void rethrow_with_what_is_left() const;

  // To the folder's records, the progress line and the observers, in this order.
  template <typename Report>
  void prepare_report(const Report& report);
  template <typename Report>
  void report(const Report& report);

  Network& network_;
  Samples samples_;
  data::Loader* validation_;
  TrainerOptions options_;
  Progress& progress_;
  ProgressObserver progress_observer_;
  std::vector<Observer*> observers_;
  struct Parts;
  std::unique_ptr<Parts> parts_;  // since begin()
};

}  // namespace halftone::train
