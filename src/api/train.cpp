#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/batch_axis.h"
#include "api/columns.h"
#include "api/identity.h"
#include "api/figures.h"
#include "api/input.h"
#include "api/memory.h"
#include "api/numbers.h"
#include "api/precision.h"
#include "api/read_back.h"
#include "api/roles_report.h"
#include "api/run_normalization.h"
#include "api/session.h"
#include "api/weights.h"
#include "base/clock.h"
#include "base/resource_error.h"
#include "base/file.h"
#include "base/stop.h"
#include "onnx/external_files.h"
#include "onnx/save.h"
#include "train/own_names.h"
#include "train/run_folder.h"
#include "train/sample_scores.h"
#include "train/staged_result.h"
#include "train/summary.h"
#include "train/trainer.h"

namespace halftone {
namespace {

// Of fp32's loss: one in 16 bits that differs by more says nothing about this network.
constexpr double kFarOff = 0.1;

template <class T>
void require(bool condition, const char* option, const T& value, const char* expected) {
  if (!condition) throw usage_error("{} {} is not possible: expected {}", option, value, expected);
}

// What a plateau watches, and so which direction is better, is --watch's choice.
train::Schedule schedule_of(const TrainOptions& o) {
  train::Schedule s = train::parse_schedule(o.schedule);
  if (s.kind != train::ScheduleKind::kPlateau) return s;
  const char* mode = o.watch == "accuracy" ? "max" : "min";
  const size_t given = o.schedule.find("mode=");
  if (given != std::string::npos && o.schedule.compare(given + 5, 3, mode) != 0)
    throw usage_error("--schedule {} goes with --watch {}, not with --watch {}", o.schedule,
                      o.watch == "accuracy" ? "loss" : "accuracy", o.watch);
  s.mode = o.watch == "accuracy" ? train::Direction::kMax : train::Direction::kMin;
  return s;
}

void check(const TrainOptions& o) {
  api::check_numbers(o);
  require(o.network.label_smoothing >= 0 && o.network.label_smoothing < 1, "--label-smoothing",
          o.network.label_smoothing, "a number in [0, 1)");
  require(o.network.batch >= 1, "--batch", o.network.batch, "at least 1");
  require(o.epochs >= 1, "--epochs", o.epochs, "at least 1");
  require(o.steps >= 0, "--steps", o.steps, "0 or more");
  require(o.accumulate >= 1, "--accumulate", o.accumulate, "at least 1");
  require(o.lr >= 0, "--lr", o.lr, "0 or more");
  require(o.momentum >= 0 && o.momentum < 1, "--momentum", o.momentum, "a number in [0, 1)");
  require(!o.nesterov || (o.momentum > 0 && o.optimizer == "sgd"), "--nesterov", true,
          "--optimizer sgd with a --momentum above 0");
  require(o.weight_decay >= 0, "--weight-decay", o.weight_decay, "0 or more");
  require(o.beta1 >= 0 && o.beta1 < 1, "--beta1", o.beta1, "a number in [0, 1)");
  require(o.beta2 >= 0 && o.beta2 < 1, "--beta2", o.beta2, "a number in [0, 1)");
  require(o.alpha >= 0 && o.alpha < 1, "--alpha", o.alpha, "a number in [0, 1)");
  require(o.eps >= 0, "--eps", o.eps, "0 or more");
  require(o.warmup >= 0, "--warmup", o.warmup, "0 or more steps");
  require(o.clip >= 0, "--clip", o.clip, "0 (none) or more");
  require(o.checkpoint_every >= 0, "--checkpoint-every", o.checkpoint_every, "0 or more steps");
  require(o.checkpoint_minutes >= 0, "--checkpoint-minutes", o.checkpoint_minutes, "0 (not by time) or more");
  require(o.keep >= 1, "--keep", o.keep, "at least 1");
  require(o.log_every >= 1, "--log-every", o.log_every, "at least 1");
  require(o.patience >= 0, "--patience", o.patience, "0 (never) or more");
  require(o.min_delta >= 0, "--min-delta", o.min_delta, "0 or more");
  require(o.time_limit >= 0, "--time-limit", o.time_limit, "0 (none) or more seconds");
  require(o.watch == "loss" || o.watch == "accuracy", "--watch", o.watch, "loss or accuracy");
  // Names are looked up before any data is opened.
  api::parse_optimizer(o.optimizer);
  api::parse_rounding(o.rounding);
  api::parse_losses(o.network);
  api::parse_class_weights(o.network.class_weights);
  require(o.last == "drop" || o.last == "keep", "--last", o.last, "drop or keep");
  if (o.last == "keep" && o.accumulate > 1)
    throw usage_error("--last keep goes with --accumulate 1: a step of {} batches would weight a smaller one as a full one",
                      o.accumulate);
  api::check_batch_norms(o.network.batchnorm);
  api::check_precision_option(o.network);
  api::threads_of(o.network.threads);
  train::LossScale::parse(o.loss_scale, api::parse_precision(o.network.precision));
  schedule_of(o);
  if (train::parse_statistics(o.bn_statistics) == train::StatisticsChoice::kMeasure && o.network.batchnorm == "freeze")
    throw usage_error(
        "--bn-statistics measure does not work with --batchnorm freeze, which leaves the running statistics as they are");
}

pass::TrainingOptions training_options(const TrainOptions& o, DType storage, const api::Data& data,
                                       std::set<std::string> frozen) {
  pass::TrainingOptions t;
  t.storage = storage;
  t.loss = data.target.loss;
  t.optimizer.kind = api::parse_optimizer(o.optimizer);
  t.optimizer.rounding = api::parse_rounding(o.rounding);
  t.frozen = std::move(frozen);
  // fp32 is the baseline that 16 bits are held against: plain rounding, as everybody trains.
  if (!is_16bit(storage)) t.optimizer.rounding = kern::Rounding::kNearest;
  const bool uses_momentum =
      t.optimizer.kind == kern::Optimizer::kSgd || t.optimizer.kind == kern::Optimizer::kRmsProp;
  t.optimizer.momentum = uses_momentum ? o.momentum : 0;
  t.optimizer.nesterov = o.nesterov;
  t.optimizer.weight_decay = o.weight_decay;
  t.optimizer.decay_all = o.decay_all;
  t.optimizer.beta1 = o.beta1;
  t.optimizer.beta2 = t.optimizer.kind == kern::Optimizer::kRmsProp ? o.alpha : o.beta2;
  t.optimizer.eps = o.eps;
  t.accumulate = o.accumulate > 1;
  return t;
}

// What belongs to outputs that are not used; Error when nobody asked for this output.
std::vector<std::string> parameters_not_trained(const TrainOptions& o, const onnx::Model& model,
                                                const std::vector<std::string>& outputs) {
  std::vector<std::string> names = api::parameters_of_others(model, outputs);
  const std::vector<api::LossSpec> losses = api::parse_losses(o.network);
  const bool named = !o.network.output.empty() || !o.network.loss_graph.empty() ||  // which takes outputs by name
                     std::any_of(losses.begin(), losses.end(), [](const api::LossSpec& l) { return !l.output.empty(); });
  const std::string& output = outputs.front();
  if (!names.empty() && !named)
    throw input_error(
        "{}: several outputs, and one is trained: {}\n  '{}' does not depend on {} parameters, which would stay as they "
        "are: {}\n  --output {} trains it anyway; another name trains another output, and several are trained together by "
        "--loss OUTPUT=KIND for each",
        model.path(), api::other_outputs(model, outputs), output, names.size(), data::some_of(names, 20), output);
  return names;
}

// Error when the result's data would take the place of a file that the network is read from.
void check_not_read(const onnx::Model& model, const std::string& folder) {
  const std::vector<onnx::ExternalFile> files = onnx::external_files(model);
  for (const onnx::ExternalFile& file : files) {
    const std::string target = folder + "/" + file.location;
    std::error_code ignored;
    const auto is_read = [&](const std::string& path) { return std::filesystem::equivalent(target, path, ignored); };
    if (is_read(model.path()) ||
        std::any_of(files.begin(), files.end(), [&](const onnx::ExternalFile& other) { return is_read(other.path); }))
      throw input_error("{}: the result's external data '{}' would overwrite a file that the network is read from; give another --out",
                        model.path(), target);
  }
}

train::Progress make_progress(bool quiet, const Log& log) {
  train::ProgressOptions options;
  options.style = train::progress_style(quiet, 2);
  options.columns = train::terminal_columns(2);
  (void)log;
  return train::Progress(options, now_seconds,
                         [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); });
}

// The batch that the data can fill, with what is left of an epoch said.
int64_t fitting_batch(const TrainOptions& o, int64_t samples, bool fixed_batch, const Log& log) {
  int64_t batch = o.network.batch;
  const int64_t a_step = samples / o.accumulate;
  if (a_step < batch && a_step >= 1 && !fixed_batch) {
    batch = a_step;
    log(fmt::format("--batch {}{}: the data has {} samples, so batches have {}", o.network.batch,
                    o.accumulate > 1 ? fmt::format(" with --accumulate {}", o.accumulate) : "", samples, batch));
  }
  return batch;
}

void report_last(const TrainOptions& o, int64_t batch, int64_t samples, const Log& log) {
  const int64_t left = samples % (batch * o.accumulate);
  if (left == 0 || samples < batch * o.accumulate) return;
  if (o.last == "keep") {
    log(fmt::format("the last batch of an epoch has {} samples (--last keep)", left));
  } else {
    log(fmt::format("{} of {} samples, others in each epoch, fill no {} and are left out of it{}", left, samples,
                    o.accumulate > 1 ? "step" : "batch", o.accumulate > 1 ? "" : " (--last keep trains them)"));
  }
}

// A run in a folder that is its own.
RunResult train_in(train::RunFolder& folder, const TrainOptions& given, const Log& log, bool& begun) {
  TrainOptions o = given;  // with the batch that the data fills
  const DType storage = api::parse_precision(o.network.precision);
  if (o.lr == 0)
    log(is_16bit(storage)
            ? fmt::format("warning: --lr 0: no weight is trained; they are rounded to {}, and running statistics of batch norms move",
                          o.network.precision)
            : "warning: --lr 0: no weight changes, only running statistics of batch norms do");
  NetworkOptions chosen = o.network;  // with `auto` decided
  const kern::Multiply multiply = api::parse_multiply(o.network.multiply, storage);
  const onnx::Model all = api::open_model(o.network, o.network.batchnorm != "freeze", log);
  const std::vector<std::string> outputs = api::outputs_of(all, o.network).names;
  const std::vector<std::string> unused = parameters_not_trained(o, all, outputs);
  onnx::Model file = api::choose_output(all, o.network, log);
  api::bind_dims(file, o.network.dims);
  const TrainFreeze tensors{o.train, o.freeze};
  const std::vector<onnx::TensorRole> roles = onnx::roles_of(file, tensors);
  api::report_roles(roles, log);
  if (const auto shared = api::shared_tensors(file, roles); !shared.empty())
    log(fmt::format("  {} of them are read by several nodes (halftone inspect lists these)", shared.size()));
  api::check_result_names(file);
  std::vector<std::string> kept;
  for (const onnx::TensorRole& r : roles)
    if (r.role != onnx::Role::kConstant) kept.push_back(r.name);
  train::check_own_names(kept, file.path());
  if (!o.resume && o.config) folder.write_config(o.config(chosen));
  api::Labelling labelling(o.network, o.data, file, o.resume ? train::classes_of_run(folder.path()) : data::ClassMap(), log);
  if (o.resume) labelling.continue_columns(train::columns_of_run(folder.path()));
  const api::Data data = api::open_data(o.data.data, {"train"}, o.data, file, labelling, log);
  if (!o.resume)
    api::warn_of_other_normalization(o.network.model, data.transform.normalization, log);
  if (o.network.batch > data.set->size() / o.accumulate)
    o.network.batch = fitting_batch(o, data.set->size(), api::check_network(o.network, file, ops::Mode::kTrain, tensors), log);
  api::check_length(o, data.set->size());
  report_last(o, o.network.batch, data.set->size(), log);
  const std::string val = api::validation_spec(o.data, log);
  std::optional<api::Data> val_data;
  if (!val.empty()) {
    labelling.validate(data.set->info().source);
    val_data = api::open_data(val, {"val", "test"}, o.data, file, labelling, log);
  }
  const bool fixed_batch = api::check_network(o.network, file, ops::Mode::kTrain, tensors);
  if (!o.resume) api::warn_of_mixed_samples(file, data, o.data, fixed_batch ? o.network.batch : 0, log);
  const api::BatchNormChoice batch_norms =
      api::choose_batch_norms(o.network, tensors, file, data, o.data, log);
  const onnx::Model& model = batch_norms.model;
  const pass::RestoredBatchNorms* restored = batch_norms.restored ? &*batch_norms.restored : nullptr;

  // A run that is continued was checked when it began.
  std::optional<train::PrecisionCheck> checked;
  const api::PrecisionSubject subject{model,       data,     data.target.loss, multiply, ops::Mode::kTrain, batch_norms.mode,
                                      fixed_batch, restored, tensors,          batch_norms.frozen.norms};
  if (!o.resume) checked = api::require_precision(subject, o.network, o.data, log);

  train::CompileOptions network_options;
  network_options.training = training_options(o, storage, data, batch_norms.frozen.tensors);
  network_options.feeding = data.plan.feeding;
  if (o.last == "keep") network_options.last_batch = data.set->size() % o.network.batch;
  if (val_data) {
    network_options.evaluation_loss = val_data->target.loss;
    network_options.evaluation_feeding = val_data->plan.feeding;
  }
  network_options.multiply = multiply;
  network_options.batch = o.network.batch;
  network_options.threads = api::threads_of(o.network.threads);
  network_options.fixed_batch = fixed_batch;
  const train::StatisticsChoice statistics = train::parse_statistics(o.bn_statistics);
  network_options.measures_statistics = statistics != train::StatisticsChoice::kRunning;
  const auto importer_of = [&](DType of) {
    return api::make_importer(model, of, batch_norms.mode, restored, tensors, batch_norms.frozen.norms);
  };
  const api::MemoryPlan memory{.importer = importer_of, .compile = network_options, .training = true,
                               .accumulate = o.accumulate, .data = &data,
                               .validation = val_data ? &*val_data : nullptr, .data_options = &o.data};
  network_options.before_allocation = api::memory_check(memory, log);
  std::optional<train::Network> until_written;
  train::Network& network = until_written.emplace(importer_of(storage), network_options);
  api::report_narrowing(network.prepare_training(), storage, log);
  std::optional<exec::MultiplyRates> rates;
  // A run that is continued was recorded as what it is; nothing is measured again.
  if (o.network.multiply == "auto" && multiply == kern::Multiply::kBlock && !o.resume)
    rates = api::choose_multiply(network, log);
  chosen.multiply = api::name_of(network.options().multiply, storage);
  const pass::NetworkGraph& graph = network.training();
  if (o.profile) network.measure_time();
  if (statistics == train::StatisticsChoice::kMeasure && network.norms().empty())
    log("--bn-statistics measure: the network has no batch norm whose statistics are updated; nothing is measured");
  log(fmt::format("{} trained tensors, {} frozen; loss {}; {} multiplies {}, {} threads, {}",
                  graph.trained.size(), graph.frozen.size(), api::describe(network.losses()), o.network.precision, chosen.multiply, network_options.threads,
                  kern::name_of(kern::active_isa())));

  if (!unused.empty())
    log(fmt::format("{} more are frozen, because output '{}' does not depend on them: {}", unused.size(),
                    fmt::join(outputs, "', '"), data::some_of(unused, 20)));

  auto training_loader =
      api::make_loader(data, o.data, o.network.batch, true, o.network.seed, storage, o.last == "keep");
  std::unique_ptr<data::Loader> val_loader;
  if (val_data)
    val_loader = api::make_loader(*val_data, o.data, o.network.batch, false, o.network.seed, storage);
  train::TrainerOptions t;
  t.epochs = o.epochs;
  t.max_steps = o.steps;
  t.accumulate = o.accumulate;
  t.lr = o.lr;
  t.schedule = schedule_of(o);
  t.warmup_steps = o.warmup;
  t.clip_norm = o.clip;
  t.loss_scale = o.loss_scale;
  t.seed = o.network.seed;
  t.folder = folder.path();
  if (o.config) t.config = o.config(chosen);
  t.classes = data.names;
  t.checkpoint_every = o.checkpoint_every;
  t.checkpoint_minutes = o.checkpoint_minutes;
  t.identity = api::identity_of(o, t.config, file, data, val_data ? &*val_data : nullptr);
  t.accept_changes = o.accept_changes;
  t.origin = {{"model", std::filesystem::absolute(file.path()).string()}, {"precision", o.network.precision},
              {"batchnorm", o.network.batchnorm}};
  const data::ColumnPlan& columns = data.set->info().columns;
  if (!columns.empty()) t.identity["columns"] = data::to_json(columns);
  t.begun = [&] {
    begun = true;
    train::write_columns(folder.path(), columns);
  };
  t.keep_checkpoints = o.keep;
  t.log_every = o.log_every;
  if (o.patience > 0) t.patience = o.patience;
  t.min_delta = o.min_delta;
  t.watch_accuracy = o.watch == "accuracy";
  t.keep_best = o.keep_best;
  t.time_limit_seconds = o.time_limit;
  t.statistics = statistics;
  std::optional<api::PrecisionSubject> evaluated;
  if (val_data)
    evaluated.emplace(api::PrecisionSubject{model, *val_data, val_data->target.loss, multiply, ops::Mode::kEval,
                                            batch_norms.mode, fixed_batch, restored, tensors, batch_norms.frozen.norms});
  if (o.network.check_precision == "on") {
    const auto check = [&](const api::PrecisionSubject& of) {
      return [&](const data::Batch& batch, uint64_t micro_step) {
        return api::check_batch(of, o.network, network.options().multiply, batch, micro_step, network.store());
      };
    };
    t.check_batch = check(subject);
    if (evaluated) t.check_evaluated = check(*evaluated);
  }
  if ((t.patience || t.keep_best || t.schedule.kind == train::ScheduleKind::kPlateau) && !val_loader)
    throw usage_error("--patience, --keep-best and --schedule plateau need validation data: give --val");
  if (val_loader && t.watch_accuracy && val_data->set->info().labels != data::LabelKind::kClass &&
      val_data->set->info().labels != data::LabelKind::kPositions)
    throw usage_error("--watch accuracy needs class labels");
  train::Progress progress = make_progress(o.quiet, log);
  train::Trainer trainer(network, *training_loader, val_loader.get(), t, progress);
  const train::TrainResult trained = trainer.run(o.resume);
  if (!trained.stop_reason.empty()) log("stopped early: " + trained.stop_reason);
  if (2 * trained.skipped_steps > trained.steps)
    log(fmt::format("warning: {} of {} steps were skipped, because a gradient was not finite", trained.skipped_steps,
                    trained.steps));
  if (trained.best_step >= 0)
    log(fmt::format("the weights are those of step {}, the best evaluated", trained.best_step));

  nlohmann::json profile = nlohmann::json::object();
  if (o.profile) {
    double sum = 0;
    for (const auto& [op, seconds] : network.time_by_operator()) sum += seconds;
    for (const auto& [op, seconds] : network.time_by_operator()) {
      log(fmt::format("{:>6.2f} %  {:>10.3f} s  {}", 100 * seconds / sum, seconds, op));
      profile[op] = seconds;
    }
  }
  // What the file is held against: the last evaluation, or, where there is no validation data, one of training samples.
  api::ReadBackOptions read_back;
  read_back.seconds = std::max(1.0, 0.05 * trained.seconds);
  read_back.multiply = network.options().multiply;
  if (!trained.validation) {
    network.release_activations();
    training_loader.reset();  // its batches make room for these
    const auto loader = api::make_loader(data, o.data, o.network.batch, false, o.network.seed, storage);
    const double start = now_seconds();
    try {
      network.evaluate(*loader, {}, [&](int64_t) { return now_seconds() - start < read_back.seconds; });
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kNumerical) throw;
      throw numerical_error("stopped for numerical reasons after step {}: {}\n  no model was written; the checkpoint is in {}",
                            trained.steps, e.what(), folder.path());
    }
  }
  const std::vector<train::Score> measured = network.evaluated();
  network.finish();
  std::vector<std::string> names = network.moving_tensor_names();
  if (restored != nullptr) names = pass::folded_names(names, *restored);
  const pass::TensorOf trained_tensor = [&](const std::string& name) { return network.file_tensor(name); };
  RunResult r;
  r.model_path = folder.path() + "/model.onnx";
  std::vector<std::string> results;  // the network after its data
  for (const onnx::ExternalFile& beside : onnx::external_files(model)) results.push_back(beside.location);
  check_not_read(model, folder.path());
  results.push_back("model.onnx");
  // An earlier result stays until this one was read back.
  train::StagedResult staged(folder.path());
  const std::string staged_path = staged.path() + "/model.onnx";
  onnx::save(
      model, names,
      [&](const std::string& name) {
        return restored != nullptr ? pass::folded_tensor(name, *restored, trained_tensor)
                                   : trained_tensor(name);
      },
      staged_path, api::data_metadata(model, data));
  r.planned_bytes = network.planned_bytes();
  if (checked) r.planned_bytes = std::max(r.planned_bytes, checked->planned_bytes);
  const std::string loss = pass::name_of(network.loss());
  const std::vector<pass::LossNode> losses = network.losses();
  const bool has_norms = !network.norms().empty();
  until_written.reset();

  read_back.storage = storage;
  read_back.loss = (trained.validation ? *val_data : data).target.loss;
  read_back.batch = o.network.batch;
  read_back.fixed_batch = fixed_batch;
  read_back.threads = network_options.threads;
  read_back.seed = o.network.seed;
  read_back.outputs = outputs;
  read_back.exact = restored == nullptr;
  const api::ReadBack written =
      api::read_back(staged_path, measured, trained.validation ? *val_data : data, o.data, read_back, folder.path());
  folder.announce_results(results);
  staged.publish(results);
  r.planned_bytes = std::max(r.planned_bytes, written.planned_bytes);
  log(fmt::format("{}: read back, its loss on {} {} samples is {:.6g}; measured {:.6g}", r.model_path, written.samples,
                  trained.validation ? "validation" : "training", written.loss, written.measured));
  // What was sound before the first step may have grown out of the range since, without a trace in the loss of 16 bits.
  if (checked) {
    const api::Data& samples = trained.validation ? *val_data : data;
    const onnx::Model again = api::open_written(r.model_path, outputs, samples);
    const api::PrecisionSubject of_file{again, samples, read_back.loss, read_back.multiply, ops::Mode::kEval,
                                        ops::BatchNormMode::kFreeze, fixed_batch};
    const auto now = api::check_precision(of_file, o.network, o.data);
    // The file is complete; what was said about it is wrong.
    const auto wrong = [&](const std::string& finding) {
      throw numerical_error(
          "stopped for numerical reasons after step {}: {}\n  the weights are written to {} and are as they were trained, but "
          "losses and accuracies of this run are not theirs: measure them with halftone eval --precision {}",
          trained.steps, finding, r.model_path, storage == DType::kF16 ? "bf16" : "fp32");
    };
    if (now && !now->fits) {
      const double gap = std::abs(now->loss - now->loss_fp32);
      if (now->overflows || !(gap <= std::max(now->explained, kFarOff * std::abs(now->loss_fp32))))
        wrong("after the training " + now->finding);
      log("warning: after the training " + now->finding);
    }
    if (now) r.planned_bytes = std::max(r.planned_bytes, now->planned_bytes);
    if (now && now->fits) {
      const api::FiguresCheck figures =
          api::check_figures(of_file, written.scores, o.network, o.data, now->explained, read_back.seconds);
      if (!figures.finding.empty()) wrong(figures.finding);
      r.planned_bytes = std::max(r.planned_bytes, figures.planned_bytes);
    }
  }
  r.train_loss = trained.train_loss;
  if (trained.validation) {
    train::write_sample_scores(folder.path() + "/" + train::kSampleScoresFile, *trained.validation);
    // Where only a part was read back, all samples as the run measured them, which that part was held against.
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

  train::Summary s = api::summary_of("train", chosen, r);
  s.epochs = trained.epochs;
  s.steps = r.steps;
  s.samples = trained.samples;
  s.train_loss = r.train_loss;
  s.skipped_steps = r.skipped_steps;
  s.stalled_updates = r.stalled_updates;
  nlohmann::json extra{
      {"loss", loss},
      {"batchnorm", batch_norms.name},
      {"tensors", api::counts_json(roles)},
      {"bad_samples", data.set->info().skipped + (val_data ? val_data->set->info().skipped : 0)},
      {"data_wait_seconds", r.data_wait_seconds},
      {"model_path", r.model_path},
      {"stop_reason", trained.stop_reason}};
  extra["read_back"] = {{"samples", written.samples}, {"loss", written.loss}, {"measured", written.measured}};
  if (trained.validation) {
    api::add_losses(extra, losses, *trained.validation);
    for (const std::string& line : api::losses_text(losses, *trained.validation)) log(line);
  }
  if (checked)
    extra["precision_check"] = {{"samples", checked->samples},
                                {"loss", checked->loss},
                                {"loss_fp32", checked->loss_fp32},
                                {"explained", checked->explained}};
  const train::StatisticsReport& norms = trained.statistics;
  const bool judged = norms.batches > norms.left_out;
  extra["bn_statistics"] = has_norms ? nlohmann::json(norms.measured ? "measured" : "running") : nullptr;
  extra["bn_batches"] = has_norms ? nlohmann::json(norms.batches) : nullptr;
  extra["bn_seconds"] = has_norms ? nlohmann::json(norms.seconds) : nullptr;
  extra["bn_deviation"] = judged && std::isfinite(norms.deviation) ? nlohmann::json(norms.deviation) : nullptr;
  extra["bn_spread"] = judged ? nlohmann::json(norms.spread) : nullptr;
  if (rates) extra["multiply_measured"] = {{"block", rates->block}, {"half", rates->half}};
  if (o.profile) extra["seconds_by_operator"] = profile;
  r.summary_json = train::to_json(s, extra.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  folder.record_results(results);
  write_file_atomically(folder.path() + "/summary.json", r.summary_json + "\n");
  return r;
}

// What a run that ended early is told, if its folder has what it takes to go on.
std::string how_to_go_on(const train::RunFolder& folder) {
  if (!train::has_checkpoint(folder.path())) return "";
  // A comparison needs all its runs to be whole: one alone is not continued.
  if (train::is_in_comparison(folder.path())) return "saved; this run is part of a comparison";
  return "saved; continue with: " + train::resume_command(folder.path());
}

}  // namespace

RunResult train_model(const TrainOptions& o, const Log& log) {
  check(o);
  train::RunFolder folder =
      o.resume ? train::RunFolder::resume(o.out)
               : train::RunFolder::create({o.out, "train", o.overwrite, api::files_read(o.network, o.data)});
  if (!o.resume && o.out.empty()) log("the results go to " + folder.path());
  bool begun = false;
  try {
    return train_in(folder, o, log, begun);
  } catch (const Interrupted& e) {
    // Before that, checkpoints in the folder are those of the run that this one would have replaced.
    const std::string how = begun || o.resume ? how_to_go_on(folder) : "";
    if (!how.empty()) throw Interrupted(e.signal(), how);
    throw Interrupted(e.signal(), fmt::format("stopped by {} before the first step; there was nothing to save",
                                              signal_name(e.signal())));
  } catch (const Error& e) {
    // The other kinds are no matter of going on as it was.
    const bool may_go_on = begun && (e.kind() == ErrorKind::kInput || e.kind() == kResources);
    const std::string how = may_go_on ? how_to_go_on(folder) : "";
    if (how.empty()) throw;
    throw Error(e.kind(), fmt::format("{}\n{}", e.what(), how));
  } catch (const std::bad_alloc&) {
    const std::string how = begun ? how_to_go_on(folder) : "";
    if (how.empty()) throw;
    throw resource_error("out of memory; try fewer --threads, or a smaller --batch with --accumulate. {}", how);
  }
}

}  // namespace halftone
