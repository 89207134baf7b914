#include "train/trainer.h"

#include <cstring>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/resident.h"
#include "base/stop.h"
#include "train/checkpoint.h"
#include "train/run_checkpoints.h"
#include "train/training_step.h"
#include "train/weights_evaluation.h"

namespace halftone::train {

struct Trainer::Parts {
  Run run;
  Soundness soundness;
  WeightsEvaluation evaluation;
  RunCheckpoints checkpoints;
  TrainingStep step;

  bool resumes;
  bool failed = false;  // an error or a request ended it
  bool ended = false;   // nothing is left but to read the result; the last checkpoint is complete
  bool out_of_time = false;
  double began_at = 0;

  Parts(Run&& run_, const Samples& samples, data::Loader* validation, bool resumes_)
      : run(std::move(run_)),
        soundness(run),
        evaluation(run, soundness, samples.loader, validation),
        checkpoints(run),
        step(run, soundness),
        resumes(resumes_) {}
};

Trainer::Trainer(Network& network, const Samples& samples, data::Loader* validation,
                 const TrainerOptions& options, Progress& progress)
    : network_(network),
      samples_(samples),
      validation_(validation),
      options_(options),
      progress_(progress),
      progress_observer_(progress, is_16bit(network.options().training.storage)),
      observers_{&progress_observer_} {
  HT_ASSERT(samples.set != nullptr);
}

Trainer::~Trainer() = default;

namespace {

// Of the evaluation that was just done. Error: it has no such figure.
double watched(const Watch& watch, const Score& score, const MetricResults& measured) {
  const std::optional<double> accuracy = score.accuracy();
  if (watch.metric == nullptr) return watch.accuracy && accuracy ? *accuracy : score.loss();
  const std::optional<double> value = watch.metric->value(measured);
  if (!value)
    throw usage_error(
        "--watch {}: the validation data has no such figure (its labels and the loss decide which)",
        watch.metric->name);
  return *value;
}

EarlyStopping stopping_of(const Watch& watch, const TrainerOptions& o) {
  return EarlyStopping(watch.larger_is_better() ? Direction::kMax : Direction::kMin, o.patience, o.min_delta);
}

}  // namespace

// ---------------------------------------------------------------- the loop
void Trainer::begin(bool resume) {
  HT_ASSERT(!parts_, "a run begins once");
  RunState state(LossScale::parse(options_.loss_scale, network_.options().training.storage),
                 stopping_of(options_.watch, options_), options_.lr);
  for (const Watch& watch : options_.also_watch) state.also_early.push_back(stopping_of(watch, options_));
  parts_ = std::make_unique<Parts>(
      Run{network_, *samples_.set, options_, progress_, {}, std::move(state), StepBatches(samples_.loader)},
      samples_, validation_, resume);
  guarded([&] { prepare(resume); });
  // What evaluating first, the identity of the data and the folder's files took is over.
  release_unneeded_pages();
  parts_->began_at = now_seconds();
  parts_->checkpoints.start_clock();
}

bool Trainer::advance() {
  HT_ASSERT(samples_.loader != nullptr, "a run without a loader is given its batches");
  return guarded([&] {
    if (!more_steps() && !(owes_evaluation() && !parts_->out_of_time)) return false;
    next_step();
    return true;
  });
}

void Trainer::advance(std::vector<data::Batch>&& batches) {
  HT_ASSERT(static_cast<int64_t>(batches.size()) == options_.accumulate, "{} batches", batches.size());
  // Not what ends a run: its result can still be evaluated and written.
  if (!parts_->failed && !more_steps())
    throw usage_error("the run has had its {} steps{}", steps(),
                      parts_->out_of_time ? ": the time limit is reached" : "");
  guarded([&] {
    parts_->run.batches.give(std::move(batches));
    step();
    after_step(/*ends_epoch=*/false);
  });
}

void Trainer::next_step() {
  Run& run = parts_->run;
  // A run may have been stopped between a step and the evaluation behind it.
  if (run.in_epoch() && !evaluates_now()) {
    run.batches.load(run.state.epoch, run.state.batch, options_.accumulate);
    step();
    after_step(/*ends_epoch=*/!run.in_epoch() || evaluates_now());
  }
  if (run.in_epoch() && !evaluates_now()) return;
  end_epoch();
  run.batches.lose_place();
}

bool Trainer::evaluates_now() const {
  const RunState& state = parts_->run.state;
  return options_.eval_every > 0 && state.step > 0 && state.step % options_.eval_every == 0 &&
         state.evaluated_step < state.step;
}

void Trainer::step() {
  parts_->evaluation.forget();
  const StepReport taken = parts_->step.take();
  prepare_report(taken);
  parts_->run.state.updating = false;
  report(taken);
}

void Trainer::after_step(bool ends_epoch) {
  check_stop();
  parts_->out_of_time =
      options_.time_limit_seconds > 0 && now_seconds() - parts_->began_at > options_.time_limit_seconds;
  const bool due = parts_->checkpoints.due() || parts_->out_of_time;
  if (parts_->checkpoints.records() != nullptr && due && !ends_epoch) save(/*best=*/false, /*prunes=*/true);
}

void Trainer::end_epoch() {
  RunState& state = parts_->run.state;
  parts_->soundness.decide_owed();
  const bool epoch_done = state.batch >= parts_->run.length.batches_per_epoch;
  const EpochReport epoch{state.step, state.epoch + (epoch_done ? 1 : 0), state.loss.mean(),
                          state.accuracy()};
  EvaluationReport evaluation{.step = state.step, .epochs_done = epoch.epoch};
  std::optional<Score> validation;
  double metric = 0;
  std::vector<double> also;
  if (parts_->evaluation.has_data()) {
    // Until all of this is done the state stays that before the evaluation, which is then done anew.
    validation = parts_->evaluation.evaluate();
    const StatisticsReport& statistics = parts_->evaluation.statistics();
    evaluation.score = &*validation;
    const MetricResults measured =
        network_.metrics().empty() ? MetricResults() : network_.metrics().front().results(std::nullopt);
    evaluation.figures = figures_of(measured);
    const auto watch_figure = [&](const Watch& watch) {
      const double value = watched(watch, *validation, measured);
      if (watch.metric != nullptr &&
          std::none_of(evaluation.figures.begin(), evaluation.figures.end(),
                       [&](const Figure& f) { return f.name == watch.metric->name; }))
        evaluation.figures.push_back({watch.metric->name, value});
      return value;
    };
    metric = watch_figure(options_.watch);
    for (const Watch& watch : options_.also_watch) also.push_back(watch_figure(watch));
    evaluation.statistics_batches = statistics.batches;
    evaluation.statistics_measured = statistics.measured;
    evaluation.statistics_deviation = statistics.deviation;
    evaluation.statistics_spread = statistics.spread;
    prepare_report(evaluation);
  }
  // From here to the record nothing fails for lack of memory, or a checkpoint would hold a part of it.
  state.last_epoch_loss = epoch.loss;
  if (epoch_done) state.start_epoch(epoch.epoch);
  bool best = false;
  if (validation) {
    state.plateau = observe_metric(options_.schedule, state.plateau, metric);
    best = state.early.observe(state.step, metric);
    state.stop = state.early.should_stop();
    for (size_t i = 0; i < also.size(); ++i) {
      state.also_early[i].observe(state.step, also[i]);
      state.stop = state.stop && state.also_early[i].should_stop();
    }
    parts_->evaluation.keep(std::move(*validation));
    evaluation.score = &*parts_->evaluation.known_score();
  }
  state.evaluated_step = state.step;
  if (evaluation.score != nullptr) report(evaluation);
  if (epoch_done) report(epoch);
  if (parts_->checkpoints.records() != nullptr) save(best, /*prunes=*/true);
}

TrainResult Trainer::end() {
  TrainResult result;
  result.stop_reason = stop_reason();
  guarded([&] {
    parts_->soundness.require_trained();
    parts_->ended = true;
  });
  try {
    finish(result);
  } catch (const Error&) {
    rethrow_with_what_is_left();
  }
  return result;
}

// ---------------------------------------------------------------- its beginning and its end
void Trainer::prepare(bool resume) {
  RunLength& length = parts_->run.length;
  if (samples_.loader != nullptr) {
    length.steps_per_epoch = samples_.loader->batches() / options_.accumulate;
    length.batches_per_epoch = length.steps_per_epoch * options_.accumulate;
    if (length.steps_per_epoch == 0)
      throw usage_error(
          "--batch {} with --accumulate {} needs {} samples, the data has {}; lower one of them",
          network_.options().batch, options_.accumulate, network_.options().batch * options_.accumulate,
          samples_.set->size());
  }
  length.total_steps = options_.max_steps > 0 ? options_.max_steps : options_.epochs * length.steps_per_epoch;
  parts_->checkpoints.open(resume);
  if (options_.on_begin) options_.on_begin();
}

bool Trainer::more_steps() const {
  const RunLength& length = parts_->run.length;
  const RunState& state = parts_->run.state;
  if (state.stop || parts_->out_of_time) return false;
  if (length.total_steps > 0 && state.step >= length.total_steps) return false;
  return options_.max_steps > 0 || !length.has_epochs() || state.epoch < options_.epochs;
}

// A run may have been stopped between its last step and the evaluation after it.
bool Trainer::owes_evaluation() const {
  const RunLength& length = parts_->run.length;
  const RunState& state = parts_->run.state;
  return length.has_epochs() && state.step > 0 && state.step >= length.total_steps &&
         state.evaluated_step < state.step && !state.stop;
}

std::string Trainer::stop_reason() const {
  if (parts_->run.state.stop)
    return fmt::format("no improvement in {} evaluations", options_.patience.value_or(0));
  return parts_->out_of_time ? "the time limit is reached" : "";
}

void Trainer::finish(TrainResult& result) {
  const Run& run = parts_->run;
  const RunState& state = run.state;
  const int64_t best_step = state.early.state().best_step;
  const bool use_best = options_.keep_best || options_.patience;
  if (use_best && best_step >= 0 && best_step != state.step) result.best_step = load_best();
  parts_->soundness.require_finite();
  parts_->evaluation.finish();
  progress_.finish();
  result.steps = state.step;
  result.epochs = static_cast<double>(state.epoch) +
                  static_cast<double>(state.batch) / static_cast<double>(run.length.batches_per_epoch);
  result.samples = state.samples;
  result.train_loss = state.last_epoch_loss;
  result.validation = parts_->evaluation.known_score();
  result.statistics = parts_->evaluation.statistics();
  result.seconds = state.seconds;
  result.data_wait_seconds = state.data_wait_seconds;
  result.skipped_steps = state.loss_scale.state().skipped_steps;
  result.stalled_updates = state.stalled;
}

int64_t Trainer::load_best() {
  network_.release_activations();  // room for the checkpoint's tensors
  const int64_t step = parts_->run.state.early.state().best_step;
  const std::string path = options_.folder + "/best.htck";
  const Checkpoint best = read_checkpoint(path);
  if (best.step != step)
    throw input_error("{} is the checkpoint of step {}, but the best evaluated step of this run is {}", path,
                      best.step, step);
  for (auto& [name, tensor] : network_.store().all()) {
    const auto it = best.tensors.find(name);
    if (it != best.tensors.end())
      std::memcpy(tensor.data(), it->second.data(), static_cast<size_t>(tensor.bytes()));
  }
  network_.restore_derived();
  parts_->evaluation.forget();
  return best.step;
}

// ---------------------------------------------------------------- what ends it early
template <typename Work>
auto Trainer::guarded(const Work& work) -> decltype(work()) {
  if (parts_->failed) throw usage_error("this run was ended by an error, and takes no more steps");
  try {
    return work();
  } catch (const InternalError&) {
    parts_->failed = true;
    progress_.finish();
    throw;  // what a bug has left is not worth a checkpoint
  } catch (const Interrupted&) {
    parts_->failed = true;
    save_unfinished();  // its own error, if there is one, is what counts
    throw;
  } catch (const Error& e) {
    save_after(e.kind() == ErrorKind::kNumerical);
    rethrow_with_what_is_left();
  } catch (...) {
    save_after(/*numerical_error=*/false);
    throw;
  }
}

void Trainer::save_after(bool numerical_error) {
  parts_->failed = true;
  try {
    if (!numerical_error) {
      save_unfinished();
    } else if (parts_->run.state.good_steps == 0) {
      if (!parts_->resumes) parts_->checkpoints.leave_nothing();
    } else if (!network_.non_finite_tensor()) {
      parts_->soundness.forget_owed();
      save_unfinished();
    }
  } catch (const std::exception& e) {
    progress_.warning(
        fmt::format("warning: the state could not be saved after the error below: {}", e.what()));
  }
  progress_.finish();
}

void Trainer::save_unfinished() {
  progress_.finish();
  if (parts_->ended || parts_->checkpoints.records() == nullptr) return;
  if (parts_->run.state.updating || parts_->soundness.spoiled())
    return;  // the last checkpoint stays the newest
  if (parts_->checkpoints.up_to_date()) return;
  // What was kept stays: the step that follows may be one that fails again.
  save(/*best=*/false, /*prunes=*/false);
}

void Trainer::rethrow_with_what_is_left() const {
  try {
    throw;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kNumerical) throw;
    const int64_t newest = parts_->checkpoints.newest_step();
    throw numerical_error("{}\n  no model was written; {}", e.what(),
                          newest < 0
                              ? std::string("there is no checkpoint")
                              : fmt::format("the checkpoint of step {} is in {}", newest, options_.folder));
  }
}

// ---------------------------------------------------------------- between its steps
Score Trainer::evaluate() {
  HT_ASSERT(validation_ != nullptr);
  return guarded([&] { return parts_->evaluation.score(); });
}

void Trainer::save() {
  guarded([&] { save(/*best=*/false, /*prunes=*/true); });
}

void Trainer::save(bool best, bool prunes) {
  parts_->soundness.require_finite();
  parts_->soundness.decide_owed();
  report(parts_->checkpoints.write(best, prunes));
}

int64_t Trainer::steps() const {
  return parts_->run.state.step;
}

double Trainer::loss_scale() const {
  return parts_->run.state.loss_scale.scale();
}

void Trainer::weights_changed() {
  parts_->evaluation.forget();
  parts_->checkpoints.weights_changed();
}

void Trainer::with_result_statistics(const std::function<void()>& work) {
  std::exception_ptr failure;  // of `work`
  guarded([&] {
    parts_->soundness.require_finite();
    parts_->evaluation.with_statistics([&] {
      try {
        work();
      } catch (const Error&) {
        failure = std::current_exception();
      }
    });
  });
  if (failure) std::rethrow_exception(failure);
}

// ---------------------------------------------------------------- its observers
void Trainer::observe(Observer& observer) {
  observers_.push_back(&observer);
}

template <typename Report>
void Trainer::prepare_report(const Report& report) {
  if (Observer* folder = parts_->checkpoints.records()) folder->prepare(report);
  for (Observer* observer : observers_) observer->prepare(report);
}

template <typename Report>
void Trainer::report(const Report& report) {
  if (Observer* folder = parts_->checkpoints.records()) folder->report(report);
  for (Observer* observer : observers_) observer->report(report);
}

}  // namespace halftone::train
