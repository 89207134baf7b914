// The end of a training run: the result is written, read back and checked, and the summary says what it is.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/columns.h"
#include "api/figures.h"
#include "api/metric_report.h"
#include "api/roles_report.h"
#include "api/training.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/regular_file.h"
#include "onnx/external_files.h"
#include "onnx/save.h"
#include "train/sample_scores.h"
#include "train/staged_result.h"
#include "train/summary.h"

namespace halftone::api {
namespace {

// Of fp32's loss: one in 16 bits that differs by more says nothing about this network.
constexpr double kFarOff = 0.1;

// Error when the result's data would take the place of a file that the network is read from.
void check_not_read(const onnx::Model& model, const std::string& folder) {
  const std::vector<onnx::ExternalFile> files = onnx::external_files(model);
  for (const onnx::ExternalFile& file : files) {
    const std::string target = folder + "/" + file.location;
    std::error_code ignored;
    const auto is_read = [&](const std::string& path) {
      return std::filesystem::equivalent(target, path, ignored);
    };
    if (is_read(model.path()) ||
        std::any_of(files.begin(), files.end(),
                    [&](const onnx::ExternalFile& other) { return is_read(other.path); }))
      throw input_error(
          "{}: the result's external data '{}' would overwrite a file that the network is read from; give "
          "another --out",
          model.path(), target);
  }
}

}  // namespace

std::map<std::string, double> TrainingRun::report_profile() {
  std::map<std::string, double> profile;
  if (!o_.profile) return profile;
  double sum = 0;
  for (const auto& [op, seconds] : network_->time_by_operator()) sum += seconds;
  for (const auto& [op, seconds] : network_->time_by_operator()) {
    log_(fmt::format("{:>6.2f} %  {:>10.3f} s  {}", 100 * seconds / sum, seconds, op));
    profile[op] = seconds;
  }
  return profile;
}

// What the file is held against: the last evaluation, or, where there is no validation data, one of training
// samples.
std::vector<train::Score> TrainingRun::measure(const train::TrainResult& trained, double seconds) {
  if (trained.validation) return network_->evaluated();
  network_->release_activations();
  training_loader_.reset();  // its batches make room for these
  const auto loader = make_loader(data_, o_.data, o_.network.batch, false, o_.network.seed, delivery());
  const double start = now_seconds();
  try {
    network_->evaluate(*loader, {}, [&](int64_t) { return now_seconds() - start < seconds; });
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kNumerical) throw;
    throw numerical_error(
        "stopped for numerical reasons after step {}: {}\n  no model was written; the checkpoint is in {}",
        trained.steps, e.what(), place_.folder->path());
  }
  return network_->evaluated();
}

onnx::TensorSource TrainingRun::trained_tensor() {
  return [this](const std::string& name) { return network_->file_tensor(name); };
}

void TrainingRun::save_model(const std::string& path) {
  if (lora_) {
    onnx::save(
        lora_->base, merged_names(*lora_),
        [&](const std::string& name) { return merged_tensor(*lora_, name, trained_tensor()); }, path,
        data_metadata(model(), data_));
    return;
  }
  std::vector<std::string> names = network_->moving_tensor_names();
  if (restored() != nullptr) names = pass::folded_names(names, *restored());
  const pass::TensorOf of_file = trained_tensor();
  onnx::save(
      model(), names,
      [&](const std::string& name) {
        return restored() != nullptr ? pass::folded_tensor(name, *restored(), of_file) : of_file(name);
      },
      path, data_metadata(model(), data_));
}

void TrainingRun::write(const std::string& path) {
  if (path.empty()) throw usage_error("the network cannot be saved: the name of the file is empty");
  check_writable_place(path);
  const std::string folder = std::filesystem::path(path).parent_path().string();
  std::error_code ignored;
  if (std::filesystem::equivalent(path, model().path(), ignored))
    throw usage_error("{} is the file that the network is read from; give another name", path);
  if (!folder.empty()) make_folder(folder);
  check_not_read(model(), folder.empty() ? "." : folder);
  trainer_->with_result_statistics([&] { save_model(path); });
}

RunResult TrainingRun::finish() {
  train::RunFolder& folder = *place_.folder;
  const train::TrainResult trained = trainer_->end();
  if (!trained.stop_reason.empty()) log_("stopped early: " + trained.stop_reason);
  if (2 * trained.skipped_steps > trained.steps)
    log_(fmt::format("warning: {} of {} steps were skipped, because a gradient was not finite",
                     trained.skipped_steps, trained.steps));
  if (trained.best_step >= 0)
    log_(fmt::format("the weights are those of step {}, the best evaluated", trained.best_step));
  const std::map<std::string, double> profile = report_profile();
  ReadBackOptions read_back_options;
  read_back_options.seconds = std::max(1.0, 0.05 * trained.seconds);
  read_back_options.multiply = network_->options().multiply;
  const int threads = network_->options().threads;
  const std::vector<train::Score> measured = measure(trained, read_back_options.seconds);
  if (trained.validation) metrics_ = metrics_of(*network_, *trained.validation, *val_data_, o_.network);
  network_->finish();
  RunResult r;
  r.model_path = folder.path() + "/model.onnx";
  std::vector<std::string> results;  // the network after its data
  for (const onnx::ExternalFile& beside : onnx::external_files(model())) results.push_back(beside.location);
  check_not_read(model(), folder.path());
  if (lora_) results.insert(results.end(), {kAdapterFile, kAdapterConfig});
  results.emplace_back("model.onnx");
  // An earlier result stays until this one was read back.
  train::StagedResult staged(folder.path());
  const std::string staged_path = staged.path() + "/model.onnx";
  save_model(staged_path);
  if (lora_) write_adapter(*lora_, trained_tensor(), staged.path());
  r.planned_bytes = network_->planned_bytes();
  if (checked_) r.planned_bytes = std::max(r.planned_bytes, checked_->planned_bytes);
  trainer_.reset();
  network_.reset();

  read_back_options.storage = storage_;
  read_back_options.loss = measured_data(trained).target.loss;
  read_back_options.batch = o_.network.batch;
  read_back_options.fixed_batch = fixed_batch_;
  read_back_options.threads = threads;
  read_back_options.seed = o_.network.seed;
  read_back_options.outputs = outputs_;
  read_back_options.exact = restored() == nullptr && !lora_;
  const ReadBack written =
      read_back(staged_path, measured, measured_data(trained), o_.data, read_back_options, folder.path());
  folder.announce_results(results);
  staged.publish(results);
  r.planned_bytes = std::max(r.planned_bytes, written.planned_bytes);
  log_(fmt::format("{}: read back, its loss on {} {} samples is {:.6g}; measured {:.6g}", r.model_path,
                   written.samples, trained.validation ? "validation" : "training", written.loss,
                   written.measured));
  if (checked_) check_precision_after(trained, written, read_back_options, r);
  r.train_loss = trained.train_loss;
  if (trained.validation) {
    train::write_sample_scores(folder.path() + "/" + train::kSampleScoresFile, *trained.validation);
    // Where only a part was read back, all samples as the run measured them, which that part was held
    // against.
    r.val_loss = written.all ? written.loss : trained.validation->loss();
    r.val_accuracy = written.all ? written.accuracy : trained.validation->accuracy();
  }
  r.seconds = trained.seconds;
  r.data_wait_seconds = trained.data_wait_seconds;
  r.samples_per_second = trained.seconds > 0 ? static_cast<double>(trained.samples) / trained.seconds : 0;
  r.steps = trained.steps;
  r.skipped_steps = trained.skipped_steps;
  r.stalled_updates = trained.stalled_updates;
  r.peak_rss_bytes = train::peak_rss_bytes().value_or(0);
  r.summary_json = summary(trained, written, r, profile);
  if (trained.validation) {
    write_metrics(folder.path(), metrics_);
    for (const std::string& line : table_of(metrics_, folder.path() + "/" + kMetricsFile)) log_(line);
  }
  if (trained.validation && before_) {
    StartingPoint after{*r.val_loss, r.val_accuracy, before_->samples};
    if (!metrics_.empty()) after.figures = train::figures_of(metrics_.front().results);
    log_(fmt::format("before: {}; after: {}", describe(*before_), describe(after)));
  }
  folder.record_results(results);
  write_file_atomically(folder.path() + "/summary.json", r.summary_json + "\n");
  r.report = report(r);
  return r;
}

// What was sound before the first step may have grown out of the range since, without a trace in the loss of
// 16 bits.
void TrainingRun::check_precision_after(const train::TrainResult& trained, const ReadBack& written,
                                        const ReadBackOptions& options, RunResult& r) {
  const Data& samples = measured_data(trained);
  const onnx::Model again = open_written(r.model_path, outputs_, samples);
  const PrecisionSubject of_file{
      again,       samples, options.loss, options.multiply, ops::Mode::kEval, ops::BatchNormMode::kFreeze,
      fixed_batch_};
  const auto now = check_precision(of_file, o_.network, o_.data);
  // The file is complete; what was said about it is wrong.
  const auto wrong = [&](const std::string& finding) {
    throw numerical_error(
        "stopped for numerical reasons after step {}: {}\n  the weights are written to {} and are as they "
        "were trained, but "
        "losses and accuracies of this run are not theirs: measure them with halftone eval --precision {}",
        trained.steps, finding, r.model_path, storage_ == DType::kF16 ? "bf16" : "fp32");
  };
  if (now && !now->fits) {
    const double gap = std::abs(now->loss - now->loss_fp32);
    if (now->overflows || !(gap <= std::max(now->explained, kFarOff * std::abs(now->loss_fp32))))
      wrong("after the training " + now->finding);
    log_("warning: after the training " + now->finding);
  }
  if (now) r.planned_bytes = std::max(r.planned_bytes, now->planned_bytes);
  if (!now || !now->fits) return;
  const FiguresCheck figures =
      check_figures(of_file, written.scores, o_.network, o_.data, now->explained, options.seconds);
  if (!figures.finding.empty()) wrong(figures.finding);
  r.planned_bytes = std::max(r.planned_bytes, figures.planned_bytes);
}

std::string TrainingRun::summary(const train::TrainResult& trained, const ReadBack& written,
                                 const RunResult& r, const std::map<std::string, double>& profile) const {
  train::Summary s = summary_of("train", chosen_, r);
  s.epochs = trained.epochs;
  s.steps = r.steps;
  s.samples = trained.samples;
  s.train_loss = r.train_loss;
  s.skipped_steps = r.skipped_steps;
  s.stalled_updates = r.stalled_updates;
  nlohmann::json extra{
      {"loss", pass::name_of(losses_.at(0).kind)},
      {"batchnorm", batch_norms_->name},
      {"tensors", counts_json(roles_)},
      {"bad_samples", data_.set->info().skipped + (val_data_ ? val_data_->set->info().skipped : 0)},
      {"data_wait_seconds", r.data_wait_seconds},
      {"model_path", r.model_path},
      {"stop_reason", trained.stop_reason}};
  extra["read_back"] = {{"samples", written.samples}, {"loss", written.loss}, {"measured", written.measured}};
  if (trained.validation) {
    add_losses(extra, losses_, *trained.validation);
    if (const auto perplexity =
            perplexity_of(val_data_->task, r.val_loss.value_or(trained.validation->loss()))) {
      log_(fmt::format("validation perplexity {:.6g}", *perplexity));
      if (std::isfinite(*perplexity)) extra["perplexity"] = *perplexity;
    }
    for (const std::string& line : losses_text(losses_, *trained.validation)) log_(line);
  }
  if (before_) {
    extra["before"] = {
        {"loss", before_->loss},
        {"accuracy", before_->accuracy ? nlohmann::json(*before_->accuracy) : nlohmann::json()},
        {"samples", before_->samples}};
    for (const train::Figure& f : before_->figures) extra["before"][f.name] = f.value;
  }
  if (trained.validation) extra["metrics"] = short_json(metrics_);
  if (checked_)
    extra["precision_check"] = {{"samples", checked_->samples},
                                {"loss", checked_->loss},
                                {"loss_fp32", checked_->loss_fp32},
                                {"explained", checked_->explained}};
  const train::StatisticsReport& norms = trained.statistics;
  const bool judged = norms.batches > norms.left_out;
  extra["bn_statistics"] = has_norms_ ? nlohmann::json(norms.measured ? "measured" : "running") : nullptr;
  extra["bn_batches"] = has_norms_ ? nlohmann::json(norms.batches) : nullptr;
  extra["bn_seconds"] = has_norms_ ? nlohmann::json(norms.seconds) : nullptr;
  extra["bn_deviation"] =
      judged && std::isfinite(norms.deviation) ? nlohmann::json(norms.deviation) : nullptr;
  extra["bn_spread"] = judged ? nlohmann::json(norms.spread) : nullptr;
  if (rates_) extra["multiply_measured"] = {{"block", rates_->block}, {"half", rates_->half}};
  if (o_.profile) extra["seconds_by_operator"] = nlohmann::json(profile);
  return train::to_json(s, extra.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace halftone::api
