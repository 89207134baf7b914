#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/stop.h"
#include "data/class_map.h"
#include "halftone/printable.h"
#include "train/checkpoint.h"
#include "train/diagnosis.h"
#include "train/metrics.h"
#include "train/run_folder.h"
#include "train/run_records.h"
#include "train/state_numbers.h"

namespace halftone::train {
namespace {

using Json = nlohmann::json;

Json optional_json(const std::optional<double>& x) {
  return x && std::isfinite(*x) ? Json(*x) : Json(nullptr);
}

// Every so many steps values are looked at, too, whose infinities do no harm.
constexpr int64_t kLookAtAllSteps = 16;

bool is_numerical(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return e.kind() == ErrorKind::kNumerical;
  } catch (...) {
    return false;
  }
}

}  // namespace

float optimizer_state_scale(const pass::TrainingOptions& o, double loss_scale) {
  if (o.storage != DType::kF16) return 1;
  const double growth = 2 / (1 - std::min(o.optimizer.momentum, 0.999));
  return static_cast<float>(loss_scale / std::exp2(std::ceil(std::log2(growth))));
}

// An infinity in the forward pass of a micro-batch of the step that was begun last.
struct Trainer::Noticed {
  exec::NonFinite first;
  size_t micro = 0;  // of State::batches
  uint64_t micro_step = 0;
  int64_t step = 0;
};

struct Trainer::State {
  State(LossScale scale, EarlyStopping stopping, NoticedInfinities of_training, NoticedInfinities of_evaluation)
      : loss_scale(std::move(scale)),
        early(std::move(stopping)),
        noticed(std::move(of_training)),
        noticed_in_evaluation(std::move(of_evaluation)) {}
  LossScale loss_scale;
  EarlyStopping early;
  PlateauState plateau;
  int64_t step = 0;  // optimizer steps taken, skipped ones included
  int64_t good_steps = 0;
  int64_t micro_steps = 0;  // forward passes
  int64_t epoch = 0;
  int64_t batch = 0;  // micro-batches of this epoch done
  int64_t samples = 0;
  int64_t stalled = 0;
  float stored_scale = 0;  // what the optimizer state was last stored with; 0: not yet
  double seconds = 0;
  double data_wait_seconds = 0;
  RunningMean loss;  // of this epoch
  int64_t correct = 0;
  int64_t targets = 0;  // that can be correct: samples, or the labels that count
  bool has_correct = false;
  std::optional<double> last_epoch_loss;
  bool stop = false;
  int64_t forward_skips = 0;  // in a row: skipped steps whose forward pass was not finite, which no loss scale mends
  int64_t evaluated_step = -1;  // the last one after which end_epoch() was done
  int64_t event_bytes = -1;     // of events.jsonl, when the checkpoint was written; -1: not known

  // Not in a checkpoint.
  bool updating = false;  // weights and counters do not belong to the same step
  bool spoiled = false;   // an infinity went into the last complete step
  bool ended = false;     // nothing is left but to read the result; the last checkpoint is complete
  int64_t saved_evaluated_step = -1;  // of the newest checkpoint
  double saved_at = 0;
  int64_t total_steps = 0;
  int64_t steps_per_epoch = 0;
  bool reported_skip = false;
  std::optional<Noticed> owed_check;  // one that was not held against fp32
  NoticedInfinities noticed, noticed_in_evaluation;
  int64_t evaluated_batches = 0;  // of all validations
  std::string last_fault;     // of the last skipped step: what was wrong, and what helps
  std::string last_remedy;
  int64_t saved_step = -1;  // of the newest checkpoint; -1: there is none
  std::optional<Score> validation;             // of the weights as they are
  std::optional<StatisticsReport> statistics;  // for these weights
  std::vector<data::Batch> batches;
  std::optional<RunRecords> records;  // of a run with a folder
  bool begun = false;       // the folder is this run's, if it has one
  bool failed = false;      // an error or a request ended it
  bool positioned = false;  // the loader's next batch is `batch` of `epoch`
  bool resumes = false;
  bool out_of_time = false;
  double begun_at = 0;
};

// The progress line, as one of those that watch.
class Trainer::ShowsProgress final : public Observer {
 public:
  ShowsProgress(Progress& progress, bool shows_scale) : progress_(progress), shows_scale_(shows_scale) {}

  void report(const StepReport& s) override {
    ProgressState shown;
    shown.step = s.step;
    shown.steps = s.total_steps;
    shown.epoch = s.epochs > 0 ? s.epoch + 1 : 0;
    shown.epochs = s.epochs;
    shown.samples = s.samples;
    shown.loss = s.epoch_loss;
    shown.accuracy = s.epoch_accuracy;
    if (shows_scale_) shown.loss_scale = s.next_loss_scale;
    progress_.update(shown);
  }
  void prepare(const EvaluationReport& e) override {
    const auto accuracy = e.score->accuracy();
    message_ = accuracy ? fmt::format("epoch {}: validation loss {:.4f}, accuracy {:.2f} %", e.epochs_done, e.score->loss(),
                                      100 * *accuracy)
                        : fmt::format("epoch {}: validation loss {:.6g}", e.epochs_done, e.score->loss());
  }
  void report(const EvaluationReport&) override { progress_.message(message_); }

 private:
  Progress& progress_;
  bool shows_scale_;
  std::string message_;
};

Trainer::Trainer(Network& network, const Samples& samples, data::Loader* validation, const TrainerOptions& options,
                 Progress& progress)
    : network_(network),
      samples_(samples),
      training_(samples.loader),
      validation_(validation),
      options_(options),
      progress_(progress),
      shows_progress_(std::make_unique<ShowsProgress>(progress, is_16bit(network.options().training.storage))),
      observers_{shows_progress_.get()} {
  HT_ASSERT(samples.set != nullptr);
  if (training_ != nullptr) statistics_.emplace(network, *training_, options.seed, options.statistics);
}

Trainer::~Trainer() = default;

void Trainer::observe(Observer& observer) {
  observers_.push_back(&observer);
}

Observer* Trainer::records() const {
  return s_->records ? &*s_->records : nullptr;
}

template <typename Report>
void Trainer::prepare_report(const Report& report) {
  if (Observer* folder = records()) folder->prepare(report);
  for (Observer* observer : observers_) observer->prepare(report);
}

template <typename Report>
void Trainer::tell(const Report& report) {
  if (Observer* folder = records()) folder->report(report);
  for (Observer* observer : observers_) observer->report(report);
}

std::string Trainer::state_json(const State& s) const {
  return Json{{"step", s.step},
              {"good_steps", s.good_steps},
              {"micro_steps", s.micro_steps},
              {"epoch", s.epoch},
              {"batch", s.batch},
              {"samples", s.samples},
              {"stalled", s.stalled},
              {"stored_scale", s.stored_scale},
              {"seconds", s.seconds},
              {"data_wait_seconds", s.data_wait_seconds},
              {"loss", s.loss.to_json()},
              {"correct", s.correct},
              {"targets", s.targets},
              {"has_correct", s.has_correct},
              {"last_epoch_loss", optional_json(s.last_epoch_loss)},
              {"stop", s.stop},
              {"evaluated_step", s.evaluated_step},
              {"event_bytes", s.records->bytes()},
              {"identity", options_.identity},
              {"origin", options_.origin},
              {"loss_scale", to_json(s.loss_scale.state())},
              {"forward_skips", s.forward_skips},
              {"plateau", to_json(s.plateau)},
              {"early_stopping", to_json(s.early.state())},
              {"classes", data::to_json(options_.classes)}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);  // a path may be any bytes
}

void Trainer::restore(State& s, const Checkpoint& checkpoint) {
  const auto impossible = [&](const std::string& what) {
    return input_error("the checkpoint of step {} in {} has an impossible state: {}", checkpoint.step, options_.folder,
                       what);
  };
  Json j;
  Identity identity;
  LossScaleState scale;
  std::vector<std::string> classes = options_.classes;
  try {
    j = Json::parse(checkpoint.state_json);
    s.step = state::whole(j, "step");
    identity = j.value("identity", Identity());
    s.good_steps = state::whole(j, "good_steps");
    s.micro_steps = state::whole(j, "micro_steps");
    s.epoch = state::whole(j, "epoch");
    s.batch = state::whole(j, "batch");
    s.samples = state::whole(j, "samples");
    s.stalled = state::whole(j, "stalled");
    s.stored_scale = static_cast<float>(state::real(j, "stored_scale"));
    s.seconds = state::real(j, "seconds");
    s.data_wait_seconds = state::real(j, "data_wait_seconds", 0, 0.0);  // checkpoints of 0.1.0 lack it
    s.loss = RunningMean::from_json(state::text(j, "loss"));
    s.correct = state::whole(j, "correct");
    s.targets = state::whole(j, "targets", 0, s.loss.count());  // checkpoints of version 0.2 have none: one a sample
    s.has_correct = state::flag(j, "has_correct");
    s.last_epoch_loss = state::real_or_null(j, "last_epoch_loss");
    s.stop = state::flag(j, "stop");
    s.forward_skips = state::whole(j, "forward_skips", 0, 0);  // checkpoints of version 0.1 have none
    s.plateau = plateau_from_json(state::text(j, "plateau"));
    s.early.restore(early_stopping_from_json(state::text(j, "early_stopping")));
    // Checkpoints of version 0.1 as it was first have neither: they were all written after an evaluation that was due.
    s.evaluated_step = state::whole(j, "evaluated_step", -1, s.step);
    s.event_bytes = state::whole(j, "event_bytes", -1, -1);
    scale = loss_scale_from_json(state::text(j, "loss_scale"));
    if (j.contains("classes")) classes = data::names_from_json(state::text(j, "classes"));
  } catch (const Json::exception& e) {
    throw impossible(e.what());
  } catch (const Error& e) {
    throw impossible(e.what());
  }
  const bool other_batches = check_identity(identity, checkpoint.step);
  s.loss_scale.restore(scale);
  if (other_batches && s.batch > 0) {
    progress_.warning(fmt::format("warning: epoch {} starts again from its first batch", s.epoch + 1));
    s.batch = 0;
    s.loss.reset();
    s.correct = 0;
    s.targets = 0;
  }
  if (classes != options_.classes)
    throw input_error("the checkpoint of step {} in {} was trained with the classes {}; the data has {} now",
                      checkpoint.step, options_.folder, data::some_of(classes), data::some_of(options_.classes));
  check_ranges(s, checkpoint);
  // Everything that a checkpoint holds must be in the network and the other way round, or it belongs to
  // another run.
  std::vector<std::string> stays = network_.file_tensor_names();
  std::erase_if(stays, [&](const std::string& name) {
    const std::vector<std::string>& moving = network_.moving_tensor_names();
    return std::binary_search(moving.begin(), moving.end(), name);
  });
  std::sort(stays.begin(), stays.end());
  std::vector<std::string> changed;  // tensors that stay, which the checkpoint has with other values
  for (auto& [name, tensor] : network_.store().all()) {
    if (!network_.is_checkpointed(name)) continue;
    const auto it = checkpoint.tensors.find(name);
    if (it == checkpoint.tensors.end() || it->second.dtype() != tensor.dtype() ||
        it->second.shape() != tensor.shape())
      throw input_error("the checkpoint of step {} in {} does not fit this run: tensor {} should be {} {}{}",
                        checkpoint.step, options_.folder, name, name_of(tensor.dtype()),
                        halftone::to_string(tensor.shape()),
                        it == checkpoint.tensors.end()
                            ? ", it has none"
                            : fmt::format(", it is {} {}", name_of(it->second.dtype()),
                                          halftone::to_string(it->second.shape())));
    if (std::binary_search(stays.begin(), stays.end(), name) &&
        std::memcmp(tensor.data(), it->second.data(), static_cast<size_t>(tensor.bytes())) != 0)
      changed.push_back(name);
    std::memcpy(tensor.data(), it->second.data(), static_cast<size_t>(tensor.bytes()));
  }
  // The steps would compute with the checkpoint's values, and the written file would have those of the network's file.
  if (!changed.empty())
    throw usage_error(
        "the checkpoint of step {} in {} does not fit this run: {} of the tensors that stay as the file has them now "
        "have other values in the checkpoint: {}\n  resume with the network file and the --freeze, --train, --output and "
        "--batchnorm that the run began with. To keep the trained values of these tensors, begin a new run with the "
        "weights of this one: halftone train {} --weights last --out NEW, with the new options",
        checkpoint.step, options_.folder, changed.size(), data::some_of(changed, 20), options_.folder);
  network_.restore_derived();
  if (const auto tensor = network_.non_finite_tensor())
    throw input_error("the checkpoint of step {} in {} has an impossible state: tensor {} holds values that are not finite",
                      checkpoint.step, options_.folder, *tensor);
}

bool Trainer::check_identity(const Identity& was, int64_t step) {
  if (options_.identity.empty()) return false;
  if (was.empty()) {
    progress_.warning(fmt::format(
        "warning: the checkpoint of step {} does not say which model, data and options it belongs to (an earlier "
        "version wrote it): give those that the run began with",
        step));
    return false;
  }
  if (const std::string more = not_compared(was, options_.identity); !more.empty())
    progress_.warning(printable(fmt::format(
        "warning: the checkpoint of step {} is of an earlier version, which did not record these options; give what the "
        "run began with: {}",
        step, more)));
  const std::vector<Difference> changed = differences(was, options_.identity);
  if (changed.empty()) return false;
  const bool options_only = std::all_of(changed.begin(), changed.end(),
                                        [](const Difference& d) { return d.name.starts_with("--"); });
  const std::string text = fmt::format("the options or files differ from those of the run in {}: {}", options_.folder,
                                       text_of(changed));
  if (!options_.accept_changes)
    throw Error(options_only ? ErrorKind::kUsage : ErrorKind::kInput,
                printable(text + ". Give what it began with, or --accept-changes to continue anyway"));
  progress_.warning(printable("warning: " + text + " (--accept-changes)"));
  return std::any_of(changed.begin(), changed.end(), [](const Difference& d) {
    return d.name == "--batch" || d.name == "--accumulate" || d.name == "--seed" || d.name == "training data";
  });
}

// What a checkpoint with right checksums may still hold: another program's numbers. What each may be by itself was checked
// when it was read.
void Trainer::check_ranges(const State& s, const Checkpoint& checkpoint) const {
  const auto require = [&](bool holds, const char* name, const auto& value) {
    if (!holds)
      throw input_error("the checkpoint of step {} in {} has an impossible state: {} is {}", checkpoint.step,
                        options_.folder, name, value);
  };
  const int64_t usable = usable_batches(s);
  require(s.step == checkpoint.step, "step", s.step);
  require(s.good_steps <= s.step, "good_steps", s.good_steps);
  // Each has at least one sample.
  require(s.micro_steps >= s.step && s.micro_steps <= s.samples, "micro_steps", s.micro_steps);
  require(s.epoch <= s.step, "epoch", s.epoch);
  require(s.batch <= usable && s.batch % options_.accumulate == 0, "batch", s.batch);
  require(std::isfinite(s.stored_scale), "stored_scale", s.stored_scale);
  require(s.loss.count() <= s.samples, "loss", s.loss.count());
  require(s.correct <= s.targets || !s.has_correct, "correct", s.correct);
  require(s.forward_skips <= s.step, "forward_skips", s.forward_skips);
  require(s.evaluated_step <= s.step, "evaluated_step", s.evaluated_step);
  const LossScaleState& scale = s.loss_scale.state();
  require(scale.good_steps <= s.step && scale.skipped_steps <= s.step, "loss_scale", to_json(scale));
  require(s.early.state().best_step <= s.step, "early_stopping", s.early.state().best_step);
}

void Trainer::save(State& s, bool best, bool prunes) {
  require_finite(s);
  decide_owed(s);
  if (!s.records) throw usage_error("there is no folder for a checkpoint: give --out");
  s.records->sync();  // before its size is recorded
  CheckpointView checkpoint;
  checkpoint.step = s.step;
  checkpoint.state_json = state_json(s);
  for (const auto& [name, tensor] : network_.store().all())
    if (network_.is_checkpointed(name)) checkpoint.tensors.emplace(name, &tensor);
  const std::string path = write_checkpoint(options_.folder, checkpoint);
  s.saved_step = s.step;
  s.saved_evaluated_step = s.evaluated_step;
  s.saved_at = now_seconds();
  if (best) keep_as_best(options_.folder, path);
  if (prunes) prune(options_.folder, options_.keep_checkpoints, "");
  tell(CheckpointReport{s.step, path, best});
}

void Trainer::save_unfinished(State& s) {
  progress_.finish();
  if (s.ended || !s.records) return;
  if (s.updating || s.spoiled) return;  // the last checkpoint stays the newest
  if (s.saved_step == s.step && s.saved_evaluated_step == s.evaluated_step) return;
  // What was kept stays: the step that follows may be one that fails again.
  save(s, false, false);
}

Circumstances Trainer::circumstances(const State& s) const {
  return {network_.options().training.storage, /*training=*/true, s.good_steps > 0, network_.state().loss_scale,
          s.loss_scale.is_automatic()};
}

void Trainer::explain(State& s) {
  ops::StepState& state = network_.state();
  std::optional<Fault> fault;
  for (int64_t micro = 0; micro < options_.accumulate && !fault; ++micro) {
    state.micro_index = static_cast<int32_t>(micro);
    state.micro_step = static_cast<uint64_t>(s.micro_steps + micro);
    fault = network_.find_non_finite(s.batches[static_cast<size_t>(micro)]);
  }
  network_.restore_derived();
  const Stage stage = fault ? fault->stage : Stage::kBackward;
  s.last_fault = fmt::format(
      "the first non-finite tensor is {}, loss scale {:g}",
      fault ? describe(*fault, s.batches[static_cast<size_t>(state.micro_index)], *samples_.set) : "a sum of gradients",
      state.loss_scale);
  s.last_remedy = remedy(stage, circumstances(s));
  // What a step starts from stays as it is, so all further steps would be skipped too.
  if (stage == Stage::kTensor) stop_for(s, s.last_fault + "\n  " + s.last_remedy);
}

void Trainer::stop_for(const State& s, const std::string& why) {
  throw numerical_error("stopped for numerical reasons at step {}: {}", s.step + 1, why);
}

// After a run that trained nothing the folder is free for the next.
void Trainer::leave_nothing(State& s) {
  s.records.reset();
  remove_run(options_.folder);
  s.saved_step = -1;
  progress_.message(fmt::format("no step was taken, so no checkpoint is kept in {}", options_.folder));
}

void Trainer::require_trained(State& s) {
  if (s.step == 0 || s.good_steps > 0) return;
  if (s.last_fault.empty() && !s.batches.empty()) explain(s);
  throw numerical_error("nothing was trained: all {} steps were skipped, because {}", s.step,
                        s.last_fault.empty() ? "no gradient was finite" : s.last_fault + "\n  " + s.last_remedy);
}

void Trainer::require_finite(const State& s) {
  const std::optional<std::string> tensor = network_.non_finite_tensor();
  if (!tensor) return;
  throw numerical_error(
      "stopped for numerical reasons after step {}: tensor {} holds values that are not finite\n  {}",
      s.step, *tensor, remedy(Stage::kTensor, circumstances(s)));
}

void Trainer::rethrow_with_what_is_left(const State& s) const {
  try {
    throw;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kNumerical) throw;
    throw numerical_error("{}\n  no model was written; {}", e.what(),
                          s.saved_step < 0 ? std::string("there is no checkpoint")
                                           : fmt::format("the checkpoint of step {} is in {}", s.saved_step, options_.folder));
  }
}

void Trainer::require_sound(State& s) {
  // When every forward pass so far overflowed, so does the next one; what matters is that no step was taken.
  if (s.forward_skips > 0 && s.forward_skips == s.step) require_trained(s);
  require_finite(s);
}

// A numerical error of `f` says after which step it came.
template <typename F>
auto Trainer::explained(const State& s, const F& f) -> decltype(f()) {
  try {
    return f();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kNumerical) throw;
    throw numerical_error("stopped for numerical reasons after step {}: {}", s.step, e.what());
  }
}

Score Trainer::validate(State& s) {
  require_sound(s);
  const auto noticed = [&](const exec::NonFinite& first, const data::Batch& batch, int64_t number, int64_t before) {
    const std::string where = fmt::format("validation, samples {} to {}", before, before + batch.count - 1);
    const auto wrong = s.noticed_in_evaluation.consider(first, batch, 0, s.evaluated_batches + number, where);
    if (wrong) throw numerical_error("{}: {}", where, *wrong);
  };
  Score score = explained(s, [&] { return network_.evaluate(*validation_, {}, {}, noticed); });
  s.evaluated_batches += static_cast<int64_t>(network_.evaluated().size());
  return score;
}

void Trainer::decide_owed(State& s) {
  if (!s.owed_check) return;
  const Noticed at = *std::exchange(s.owed_check, std::nullopt);
  consider_noticed(s, at, /*must_decide=*/true);
}

void Trainer::consider_noticed(State& s, const Noticed& at, bool must_decide) {
  if (!must_decide && !s.noticed.checks(at.step)) s.owed_check = at;
  const auto wrong = s.noticed.consider(at.first, s.batches[at.micro], at.micro_step, at.step,
                                        fmt::format("step {}", at.step + 1), must_decide);
  s.spoiled = wrong && at.step < s.step;
  if (wrong) stop_for(s, *wrong + (s.good_steps > 0 ? "; if it began during the training, a smaller --lr or --clip 1" : ""));
}

// The batches of the next step, in their order; what is not there yet is fetched.
class Trainer::StepBatches {
 public:
  // From the loader.
  StepBatches(State& s, data::Loader& loader, int64_t count) : s_(s), loader_(&loader) {
    s.batches.resize(static_cast<size_t>(count));
  }
  // From elsewhere.
  StepBatches(State& s, std::vector<data::Batch>&& given) : s_(s) {
    s.batches = std::move(given);
    fetched_ = s.batches.size();
  }
  bool from_loader() const { return loader_ != nullptr; }
  const data::Batch& at(size_t micro) {
    while (fetched_ <= micro) {
      const double asked = now_seconds();
      HT_ASSERT(loader_->next(s_.batches[fetched_]), "epoch {} ended after {} batches", s_.epoch, s_.batch);
      s_.data_wait_seconds += now_seconds() - asked;
      ++fetched_;
    }
    return s_.batches[micro];
  }
  const std::vector<data::Batch>& all() {
    at(s_.batches.size() - 1);
    return s_.batches;
  }

 private:
  State& s_;
  data::Loader* loader_ = nullptr;
  size_t fetched_ = 0;
};

void Trainer::step(State& s, StepBatches& batches) {
  const double start = now_seconds();
  ops::StepState& state = network_.state();
  state.seed = options_.seed;
  state.step = static_cast<uint64_t>(s.step);
  state.loss_scale = static_cast<float>(s.loss_scale.scale());
  state.micro_batches = static_cast<int32_t>(options_.accumulate);
  state.clip_norm = static_cast<float>(options_.clip_norm);
  state.good_steps = static_cast<double>(s.good_steps + 1);
  const SchedulePosition position{s.good_steps, std::max<int64_t>(1, s.total_steps),
                                  std::max<int64_t>(1, s.steps_per_epoch), options_.warmup_steps};
  state.lr = static_cast<float>(learning_rate(options_.schedule, options_.lr, position, s.plateau));
  state.state_scale = optimizer_state_scale(network_.options().training, s.loss_scale.scale());
  state.read_scale = 1 / (s.stored_scale > 0 ? s.stored_scale : state.state_scale);
  state.stalled_updates = 0;
  s.validation.reset();
  s.statistics.reset();

  network_.look_at_all(s.step % kLookAtAllSteps == 0 || s.step + 1 == s.total_steps ||
                       s.batch + options_.accumulate >= usable_batches(s));
  s.owed_check.reset();

  if (network_.depends_on_step()) network_.begin_step(batches.all());
  Score score;
  for (int64_t micro = 0; micro < options_.accumulate; ++micro) {
    const data::Batch& batch = batches.at(static_cast<size_t>(micro));
    state.micro_index = static_cast<int32_t>(micro);
    state.micro_step = static_cast<uint64_t>(s.micro_steps + micro);
    const Score of_batch = network_.compute(batch);
    score.add(of_batch);
    // What is not finite in the loss or in a gradient is no secret, and a step that is not taken.
    if (!network_.noticed().empty() && std::isfinite(of_batch.loss_sum) && network_.gradients_finite())
      consider_noticed(s, {network_.noticed().front(), static_cast<size_t>(micro), state.micro_step, s.step},
                       /*must_decide=*/false);
  }
  // Gradients that are finite say nothing then, and are not followed.
  if (!std::isfinite(score.loss()) && network_.gradients_finite()) {
    explain(s);
    stop_for(s, s.last_fault + "\n  " + s.last_remedy);
  }
  s.updating = true;
  const LossScaleState scale_before = s.loss_scale.state();
  const int64_t forward_skips_before = s.forward_skips;
  network_.update();
  const StepVerdict verdict = s.loss_scale.update(state.finite);
  if (verdict == StepVerdict::kApply) {
    ++s.good_steps;
    s.stored_scale = state.state_scale;
    s.stalled += state.stalled_updates;
    s.loss.add(score.loss(), score.samples);
    s.has_correct = score.correct.has_value();
    s.correct += score.correct.value_or(0);
    s.targets += score.targets;
    s.forward_skips = 0;
  } else {
    s.forward_skips = std::isfinite(score.loss()) ? 0 : s.forward_skips + 1;
    const bool hopeless = verdict == StepVerdict::kStop || s.forward_skips >= kMaxHopelessSteps;
    // Looking takes a step's time: of gradients, which a lower scale may mend, the first time; of a forward pass always.
    if (hopeless || !s.reported_skip || s.forward_skips > 0) {
      explain(s);
      if (hopeless) {
        const int64_t in_a_row = std::max(s.loss_scale.state().hopeless_steps, s.forward_skips);
        // A skipped step has changed nothing else: the state is again that after the last complete step.
        s.loss_scale.restore(scale_before);
        s.forward_skips = forward_skips_before;
        s.updating = false;
        stop_for(s, fmt::format("{}\n  {}; {} steps in a row had to be skipped", s.last_fault, s.last_remedy, in_a_row));
      }
      const bool helps_itself = s.loss_scale.scale() < state.loss_scale && s.forward_skips == 0;
      if (!s.reported_skip)
        progress_.warning(fmt::format("warning: skipped step {}: {}{}", s.step + 1, s.last_fault,
                                      helps_itself ? "; the loss scale is lowered and training goes on"
                                                   : "\n  " + s.last_remedy + "; training goes on"));
      s.reported_skip = true;
    }
  }
  s.micro_steps += options_.accumulate;
  if (batches.from_loader()) s.batch += options_.accumulate;
  s.samples += score.samples;
  ++s.step;
  s.seconds += now_seconds() - start;

  StepReport report;
  report.step = s.step;
  report.total_steps = s.total_steps;
  report.epoch = s.epoch;
  // As --steps has it, or --epochs.
  report.epochs = has_epochs() ? (s.total_steps + s.steps_per_epoch - 1) / s.steps_per_epoch : 0;
  report.last = s.step == s.total_steps;
  report.skipped = verdict != StepVerdict::kApply;
  report.score = std::move(score);
  report.lr = state.lr;
  report.loss_scale = state.loss_scale;
  report.next_loss_scale = s.loss_scale.scale();
  report.grad_norm = state.grad_norm;
  report.stalled_updates = state.stalled_updates;
  report.samples = s.samples;
  report.seconds = s.seconds;
  report.epoch_loss = s.loss.mean();
  if (s.has_correct && s.targets > 0)
    report.epoch_accuracy = static_cast<double>(s.correct) / static_cast<double>(s.targets);
  prepare_report(report);
  s.updating = false;
  tell(report);
}

void Trainer::measure_statistics(State& s) {
  require_sound(s);  // else its batches are not finite, which names no cause
  if (!statistics_) {  // no loader, no batches to measure over
    s.statistics.emplace();
    return;
  }
  s.positioned = false;  // the loader is used
  s.statistics = explained(s, [&] { return statistics_->measure(); });
  const StatisticsReport& r = *s.statistics;
  if (r.left_out > 0)
    progress_.warning(fmt::format(
        "warning: batch norms: {} of {} batches for measuring statistics were left out, because theirs are not finite",
        r.left_out, r.batches));
  if (r.measured)
    progress_.message(fmt::format(
        "batch norms: the running statistics are {:.2f} standard deviations off at {} (one batch differs from another by "
        "{:.2f}); measured for these weights over {} batches in {:.1f} s",
        r.deviation, r.norm, r.spread, r.batches, r.seconds));
}

void Trainer::end_epoch(State& s) {
  decide_owed(s);
  const bool epoch_done = s.batch >= usable_batches(s);
  const int64_t epochs_done = s.epoch + (epoch_done ? 1 : 0);
  EpochReport epoch{s.step, epochs_done, s.loss.mean(), std::nullopt};
  if (s.has_correct && s.targets > 0) epoch.accuracy = static_cast<double>(s.correct) / static_cast<double>(s.targets);
  std::optional<Score> validation;
  std::optional<double> accuracy;
  EvaluationReport report{.step = s.step, .epochs_done = epochs_done};
  if (validation_ != nullptr) {
    // Until all of this is done the state stays that before the evaluation, which is then done anew.
    validation = evaluate_now(s);
    accuracy = validation->accuracy();
    report.score = &*validation;
    report.statistics_batches = s.statistics->batches;
    report.statistics_measured = s.statistics->measured;
    report.statistics_deviation = s.statistics->deviation;
    report.statistics_spread = s.statistics->spread;
    prepare_report(report);
  }
  // From here to the record nothing fails for lack of memory, or a checkpoint would hold a part of it.
  s.last_epoch_loss = s.loss.mean();
  if (epoch_done) {
    s.epoch = epochs_done;
    s.batch = 0;
    s.loss.reset();
    s.correct = 0;
    s.targets = 0;
  }
  bool best = false;
  if (validation) {
    const double metric = options_.watch_accuracy && accuracy ? *accuracy : validation->loss();
    s.plateau = observe_metric(options_.schedule, s.plateau, metric);
    best = s.early.observe(s.step, metric);
    s.stop = s.early.should_stop();
    s.validation = std::move(validation);
    report.score = &*s.validation;
  }
  s.evaluated_step = s.step;
  if (s.validation && report.score != nullptr) tell(report);
  if (epoch_done) tell(epoch);
  if (s.records) save(s, best, true);
}

// Training and its checkpoints keep the running statistics.
Score Trainer::evaluate_now(State& s) {
  measure_statistics(s);
  if (!statistics_) return validate(s);
  const ExchangedStatistics exchanged(*statistics_);
  return validate(s);
}

// Micro-batches of an epoch that make whole steps.
int64_t Trainer::usable_batches(const State& s) const {
  return has_epochs() ? s.steps_per_epoch * options_.accumulate : std::numeric_limits<int64_t>::max();
}

void Trainer::prepare(State& s, bool resume) {
  s.resumes = resume;
  s.plateau = start_plateau(options_.lr);
  if (has_epochs()) {
    s.steps_per_epoch = training_->batches() / options_.accumulate;
    if (s.steps_per_epoch == 0)
      throw usage_error("--batch {} with --accumulate {} needs {} samples, the data has {}; lower one of them",
                        network_.options().batch, options_.accumulate,
                        network_.options().batch * options_.accumulate, samples_.set->size());
  }
  s.total_steps = options_.max_steps > 0 ? options_.max_steps : options_.epochs * s.steps_per_epoch;
  if (!options_.folder.empty()) open_folder(s, resume);
  s.begun = true;
  if (options_.begun) options_.begun();
}

void Trainer::open_folder(State& s, bool resume) {
  if (!resume) remove_run(options_.folder);
  clean_temporaries(options_.folder);
  std::optional<RunRecords::Resumed> resumed_from;
  if (resume) {
    LatestCheckpoint latest = find_latest(options_.folder);
    for (const RefusedCheckpoint& refused : latest.refused) {
      progress_.warning(fmt::format("warning: {} is damaged and not used ({}); it is kept as {}.damaged",
                                    refused.path, refused.reason, refused.path));
      set_aside(refused.path);
    }
    if (latest.checkpoint) {
      restore(s, *latest.checkpoint);
      resumed_from = {s.step, s.event_bytes};
      s.saved_step = s.step;
      s.saved_evaluated_step = s.evaluated_step;
      progress_.message(fmt::format("resuming at step {} from {}", s.step, latest.path));
      // The run may have been killed before it had been kept.
      if (s.early.state().best_step == s.step) keep_as_best(options_.folder, latest.path);
    } else {
      progress_.message(
          fmt::format("{} has no usable checkpoint: starting from the beginning", options_.folder));
    }
  }
  mark_running(options_.folder, options_.config);
  write_classes(options_.folder, options_.classes);
  s.records.emplace(options_.folder, options_.log_every, network_.losses(), resumed_from);
}

bool Trainer::more_steps(const State& s) const {
  const bool before_end = s.total_steps == 0 || s.step < s.total_steps;
  return before_end && (options_.max_steps > 0 || !has_epochs() || s.epoch < options_.epochs) && !s.stop && !s.out_of_time;
}

// A run may have been stopped between its last step and the evaluation after it.
bool Trainer::owes_evaluation(const State& s) const {
  return has_epochs() && s.step > 0 && s.step >= s.total_steps && s.evaluated_step < s.step && !s.stop;
}

// The next step of an epoch, or what is left of one.
void Trainer::next_step(State& s) {
  const auto epoch_done = [&] { return s.batch >= usable_batches(s) || s.step >= s.total_steps; };
  if (!epoch_done()) {
    if (!s.positioned) training_->start(s.epoch, s.batch);
    s.positioned = true;
    StepBatches batches(s, *training_, options_.accumulate);
    step(s, batches);
    after_step(s, epoch_done());
  }
  if (!epoch_done()) return;
  end_epoch(s);
  s.positioned = false;
}

// ends_epoch: the last step of an epoch is saved after its evaluation.
void Trainer::after_step(State& s, bool ends_epoch) {
  check_stop();
  const double now = now_seconds();
  s.out_of_time = options_.time_limit_seconds > 0 && now - s.begun_at > options_.time_limit_seconds;
  const bool due = (options_.checkpoint_every > 0 && s.step % options_.checkpoint_every == 0) ||
                   (options_.checkpoint_minutes > 0 && now - s.saved_at >= 60 * options_.checkpoint_minutes);
  if (s.records && (due || s.out_of_time) && !ends_epoch) save(s, false, true);
}

std::string Trainer::stop_reason(const State& s) const {
  if (s.stop) return fmt::format("no improvement in {} evaluations", options_.patience.value_or(0));
  return s.out_of_time ? "the time limit is reached" : "";
}

// Whatever ends `work` early leaves what a run can be continued from.
template <typename F>
auto Trainer::guarded(const F& work) -> decltype(work()) {
  State& s = *s_;
  if (s.failed) throw usage_error("this run was ended by an error, and takes no more steps");
  try {
    return work();
  } catch (const InternalError&) {
    s.failed = true;
    progress_.finish();
    throw;  // what a bug has left is not worth a checkpoint
  } catch (const Interrupted&) {
    s.failed = true;
    save_unfinished(s);  // its own error, if there is one, is what counts
    throw;
  } catch (...) {
    s.failed = true;
    const bool numerical = is_numerical(std::current_exception());
    try {
      if (numerical && s.good_steps == 0) {
        if (!s.resumes && s.records) leave_nothing(s);
      } else if (!numerical) {
        save_unfinished(s);
      } else if (!network_.non_finite_tensor()) {
        s.owed_check.reset();  // of a step that is not taken
        save_unfinished(s);
      }
    } catch (const std::exception& e) {
      progress_.warning(fmt::format("warning: the state could not be saved after the error below: {}", e.what()));
    }
    progress_.finish();
    if (!numerical) throw;
    rethrow_with_what_is_left(s);
  }
}

void Trainer::begin(bool resume) {
  HT_ASSERT(!s_, "a run begins once");
  const auto warn = [this](const std::string& text) { progress_.warning(text); };
  s_ = std::make_unique<State>(
      LossScale::parse(options_.loss_scale, network_.options().training.storage),
      EarlyStopping(options_.watch_accuracy ? Direction::kMax : Direction::kMin, options_.patience, options_.min_delta),
      NoticedInfinities(options_.check_batch, warn), NoticedInfinities(options_.check_evaluated, warn));
  guarded([&] { prepare(*s_, resume); });
  s_->begun_at = s_->saved_at = now_seconds();
}

bool Trainer::advance() {
  HT_ASSERT(has_epochs(), "a run without a loader is given its batches");
  return guarded([&] {
    if (!more_steps(*s_) && !(owes_evaluation(*s_) && !s_->out_of_time)) return false;
    next_step(*s_);
    return true;
  });
}

void Trainer::advance(std::vector<data::Batch>&& batches) {
  HT_ASSERT(static_cast<int64_t>(batches.size()) == options_.accumulate, "{} batches", batches.size());
  // Not what ends a run: its result can still be evaluated and written.
  if (!s_->failed && !more_steps(*s_))
    throw usage_error("the run has had its {} steps{}", s_->step, s_->out_of_time ? ": the time limit is reached" : "");
  guarded([&] {
    StepBatches given(*s_, std::move(batches));
    step(*s_, given);
    after_step(*s_, false);
  });
}

Score Trainer::evaluate() {
  HT_ASSERT(validation_ != nullptr);
  return guarded([&] {
    if (!s_->validation) s_->validation = evaluate_now(*s_);
    return *s_->validation;
  });
}

void Trainer::save() {
  guarded([&] { save(*s_, false, true); });
}

int64_t Trainer::steps() const {
  return s_->step;
}

double Trainer::loss_scale() const {
  return s_->loss_scale.scale();
}

void Trainer::weights_changed() {
  s_->validation.reset();
  s_->statistics.reset();
  s_->saved_evaluated_step = -2;  // the newest checkpoint has other weights
}

void Trainer::with_result_statistics(const std::function<void()>& work) {
  std::exception_ptr failure;  // of `work`
  guarded([&] {
    require_finite(*s_);
    if (!s_->statistics) measure_statistics(*s_);
    std::optional<ExchangedStatistics> exchanged;
    if (statistics_) exchanged.emplace(*statistics_);
    try {
      work();
    } catch (const Error&) {
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

TrainResult Trainer::end() {
  State& s = *s_;
  TrainResult result;
  result.stop_reason = stop_reason(s);
  guarded([&] {
    require_trained(s);
    s.ended = true;
  });
  try {
    finish(s, result);
  } catch (const Error&) {
    rethrow_with_what_is_left(s);
  }
  return result;
}

TrainResult Trainer::run(bool resume) {
  begin(resume);
  while (advance()) {
  }
  return end();
}

void Trainer::finish(State& s, TrainResult& result) {
  const bool use_best = options_.keep_best || options_.patience;
  if (use_best && s.early.state().best_step >= 0 && s.early.state().best_step != s.step) {
    network_.release_activations();  // room for the checkpoint's tensors
    const std::string path = options_.folder + "/best.htck";
    const Checkpoint best = read_checkpoint(path);
    if (best.step != s.early.state().best_step)
      throw input_error("{} is the checkpoint of step {}, but the best evaluated step of this run is {}", path, best.step,
                        s.early.state().best_step);
    for (auto& [name, tensor] : network_.store().all()) {
      const auto it = best.tensors.find(name);
      if (it != best.tensors.end())
        std::memcpy(tensor.data(), it->second.data(), static_cast<size_t>(tensor.bytes()));
    }
    network_.restore_derived();
    result.best_step = best.step;
    s.validation.reset();
    s.statistics.reset();
  }
  require_finite(s);
  if (!s.statistics) measure_statistics(s);
  if (statistics_) statistics_->exchange();  // for good: they are what is written
  if (!s.validation && validation_ != nullptr) s.validation = validate(s);
  progress_.finish();
  result.steps = s.step;
  result.epochs = static_cast<double>(s.epoch) + static_cast<double>(s.batch) / static_cast<double>(usable_batches(s));
  result.samples = s.samples;
  result.train_loss = s.last_epoch_loss;
  result.validation = s.validation;
  result.statistics = *s.statistics;
  result.seconds = s.seconds;
  result.data_wait_seconds = s.data_wait_seconds;
  result.skipped_steps = s.loss_scale.state().skipped_steps;
  result.stalled_updates = s.stalled;
}

}  // namespace halftone::train
