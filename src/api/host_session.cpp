// halftone::Session: a training run whose steps the host takes.
#include <cmath>
#include <list>
#include <memory>

#include "api/identity.h"
#include "api/training.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/near_names.h"
#include "base/stop.h"

namespace halftone {
namespace {

StepReport report_of(const train::StepReport& s) {
  return {.step = s.step,
          .epoch = s.epoch,
          .loss = s.score.loss(),
          .accuracy = s.score.accuracy(),
          .learning_rate = s.lr,
          .loss_scale = s.loss_scale,
          .gradient_norm = s.grad_norm,
          .skipped = s.skipped,
          .stalled_updates = s.stalled_updates,
          .samples = s.samples,
          .seconds = s.seconds};
}

EvaluationReport report_of(int64_t step, const train::Score& score) {
  return {.step = step, .samples = score.samples, .loss = score.loss(), .accuracy = score.accuracy()};
}

// Passes a run's reports on to the host, and keeps the last step's.
class Passes final : public train::Observer {
 public:
  explicit Passes(std::list<halftone::Observer>& observers) : observers_(observers) {}
  const StepReport& last() const { return last_; }

  void prepare(const train::StepReport& s) override { last_ = report_of(s); }
  void report(const train::StepReport&) override {
    for (const halftone::Observer& o : observers_)
      if (o.step) o.step(last_);
  }
  void report(const train::EvaluationReport& e) override {
    const EvaluationReport report = report_of(e.step, *e.score);
    for (const halftone::Observer& o : observers_)
      if (o.evaluation) o.evaluation(report);
  }
  void report(const train::EpochReport& e) override {
    const EpochReport report{.epoch = e.epoch, .step = e.step, .loss = e.loss, .accuracy = e.accuracy};
    for (const halftone::Observer& o : observers_)
      if (o.epoch) o.epoch(report);
  }
  void report(const train::CheckpointReport& c) override {
    const CheckpointReport report{.step = c.step, .path = c.path, .best = c.best};
    for (const halftone::Observer& o : observers_)
      if (o.checkpoint) o.checkpoint(report);
  }

 private:
  std::list<halftone::Observer>& observers_;
  StepReport last_;
};

// Messages and warnings go to the log; nothing is drawn.
train::Progress progress_to(const Log& log, bool quiet) {
  train::ProgressOptions options;
  options.style = quiet ? train::ProgressStyle::kQuiet : train::ProgressStyle::kMessages;
  return train::Progress(options, now_seconds, [log](std::string_view text) {
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    if (!text.empty()) log(std::string(text));
  });
}

Log log_for(const Log& log, bool quiet) {
  if (!log) return [](const std::string&) {};
  if (!quiet) return log;
  return [log](const std::string& line) {
    if (line.starts_with("warning:")) log(line);
  };
}

// Once the options are known to make a run.
std::optional<train::RunFolder> folder_of(const TrainOptions& o, bool given) {
  api::check_training_options(o, given);
  if (o.out.empty()) {
    if (o.resume)
      throw usage_error("a session goes on from the checkpoints in its folder: --resume needs options.out");
    return std::nullopt;
  }
  if (o.resume) return train::RunFolder::resume(o.out);
  return train::RunFolder::create({o.out, "train", o.overwrite, api::files_read(o.network, o.data)});
}

}  // namespace

struct Session::State {
  State(const TrainOptions& options, const Arrays* example, const Log& log)
      : passes(observers), folder(folder_of(options, example != nullptr)) {
    const Log lines = log_for(log, options.quiet);
    run.emplace(options, example, api::TrainingRun::Place{folder ? &*folder : nullptr},
                progress_to(lines, options.quiet), lines);
    run->trainer().observe(passes);
    run->trainer().begin(options.resume);
  }

  api::TrainingRun& running() {
    if (!run) throw usage_error("the session has ended: run() was called");
    return *run;
  }
  const api::BatchReader& batches(const char* what) {
    const api::BatchReader* reader = running().batches();
    if (reader == nullptr)
      throw usage_error(
          "{} takes a batch, whose form an example gives: make the session with one, and without data.data",
          what);
    return *reader;
  }
  train::Network& network() { return running().network(); }
  void require_tensor(const std::string& name) {
    if (network().has_file_tensor(name)) return;
    const std::vector<std::string> near = near_names(name, network().file_tensor_names(), 5);
    throw usage_error("the network has no tensor '{}'{}", name,
                      near.empty() ? "" : fmt::format("; it has {}, ...", fmt::join(near, ", ")));
  }

  std::list<Observer> observers;
  Passes passes;
  std::optional<train::RunFolder> folder;
  std::optional<api::TrainingRun> run;
};

Session::Session(const TrainOptions& options, const Log& log)
    : state_(std::make_unique<State>(options, nullptr, log)) {}
Session::Session(const TrainOptions& options, const Arrays& example, const Log& log)
    : state_(std::make_unique<State>(options, &example, log)) {}
Session::~Session() = default;
Session::Session(Session&& other) noexcept = default;
Session& Session::operator=(Session&& other) noexcept = default;

void Session::observe(Observer observer) {
  state_->observers.push_back(std::move(observer));
}

std::optional<StepReport> Session::step() {
  api::TrainingRun& run = state_->running();
  if (run.batches() != nullptr)
    throw usage_error(
        "step() takes the next batch of the data, and this session is given its batches: step(batch)");
  const int64_t before = run.trainer().steps();
  // What is left may be an evaluation alone.
  while (run.trainer().advance())
    if (run.trainer().steps() > before) return state_->passes.last();
  return std::nullopt;
}

StepReport Session::step(const Arrays& batch) {
  return step_over({batch});
}

StepReport Session::step_over(const std::vector<Arrays>& batches) {
  const api::BatchReader& reader = state_->batches("step(batch)");
  api::TrainingRun& run = state_->running();
  const auto count = static_cast<size_t>(run.options().accumulate);
  if (batches.size() != count)
    throw usage_error("a step takes {} batches (options.accumulate), got {}", count, batches.size());
  std::vector<data::Batch> read;
  for (const Arrays& batch : batches)
    read.push_back(reader.read(batch, run.delivery(), /*labels=*/true, run.options().network.batch));
  for (const data::Batch& batch : read) run.network().prepare_for(batch);
  run.trainer().advance(std::move(read));
  return state_->passes.last();
}

int64_t Session::steps() const {
  return state_->running().trainer().steps();
}

EvaluationReport Session::evaluate() {
  api::TrainingRun& run = state_->running();
  if (!run.has_validation()) throw usage_error("evaluate(): the options name no validation data (data.val)");
  return report_of(steps(), run.trainer().evaluate());
}

EvaluationReport Session::evaluate(const Arrays& batch) {
  const api::BatchReader& reader = state_->batches("evaluate(batch)");
  api::TrainingRun& run = state_->running();
  const api::Data data = reader.open(batch, /*labels=*/true);
  const int64_t size = run.fixed_batch() ? run.options().network.batch : data.set->size();
  const auto loader = api::make_loader(data, run.options().data, size, false, 0, run.delivery());
  return report_of(steps(), run.network().evaluate(*loader));
}

Arrays Session::predict(const Arrays& batch) {
  const api::BatchReader& reader = state_->batches("predict(batch)");
  api::TrainingRun& run = state_->running();
  const data::Batch samples = reader.read(batch, run.delivery(), /*labels=*/false,
                                          run.fixed_batch() ? run.options().network.batch : 0);
  Arrays outputs;
  for (const auto& [name, tensor] : run.network().outputs(samples))
    outputs.emplace(name, api::array_of(tensor));
  return outputs;
}

std::vector<std::string> Session::tensor_names() const {
  return state_->network().file_tensor_names();
}

std::vector<std::string> Session::trained_names() const {
  return state_->network().training().trained;
}

Array Session::tensor(const std::string& name) const {
  state_->require_tensor(name);
  return api::array_of(state_->network().file_tensor(name));
}

void Session::set_tensor(const std::string& name, const Array& values) {
  state_->require_tensor(name);
  state_->network().set_file_tensor(name, api::float_tensor_of(values, "tensor " + name));
  state_->running().trainer().weights_changed();
}

Arrays Session::gradients(const Arrays& batch) {
  const api::BatchReader& reader = state_->batches("gradients(batch)");
  api::TrainingRun& run = state_->running();
  const data::Batch samples =
      reader.read(batch, run.delivery(), /*labels=*/true, run.options().network.batch);
  train::Network::Gradients found =
      run.network().gradients(samples, run.options().network.seed, run.trainer().loss_scale());
  Arrays gradients;
  for (const auto& [name, tensor] : found.by_name) gradients.emplace(name, api::array_of(tensor));
  return gradients;
}

void Session::save(const std::string& path) {
  state_->running().write(path);
}

void Session::checkpoint() {
  if (!state_->folder) throw usage_error("checkpoint(): options.out names no folder for it");
  state_->running().trainer().save();
}

RunResult Session::run() {
  api::TrainingRun& run = state_->running();
  if (!state_->folder) throw usage_error("run(): options.out names no folder for the result");
  if (run.batches() != nullptr)
    throw usage_error("run() trains on the data that options name; this session is given its batches");
  while (run.trainer().advance()) {
  }
  RunResult result = run.finish();
  state_->run.reset();
  state_->folder.reset();
  return result;
}

}  // namespace halftone
