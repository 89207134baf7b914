// The assembly of a training run: model, data, network, trainer, in this order.
#include "api/training.h"

#include <algorithm>
#include <filesystem>

#include "api/batch_axis.h"
#include "api/batches.h"
#include "api/columns.h"
#include "api/identity.h"
#include "api/input.h"
#include "api/numbers.h"
#include "api/rates.h"
#include "api/roles_report.h"
#include "api/run_facts.h"
#include "api/watch.h"
#include "base/error.h"
#include "base/memory_limits.h"
#include "data/class_map.h"
#include "train/own_names.h"
#include "train/resume.h"

namespace halftone::api {
namespace {

// What belongs to outputs that are not used; Error when nobody asked for this output.
std::vector<std::string> parameters_not_trained(const TrainOptions& o, const onnx::Model& model,
                                                const std::vector<std::string>& outputs) {
  std::vector<std::string> names = parameters_of_others(model, outputs);
  const std::vector<LossSpec> losses = parse_losses(o.network);
  const bool named =
      !o.network.output.empty() || !o.network.loss_graph.empty() ||  // which takes outputs by name
      std::any_of(losses.begin(), losses.end(), [](const LossSpec& l) { return !l.output.empty(); });
  const std::string& output = outputs.front();
  if (!names.empty() && !named)
    throw input_error(
        "{}: several outputs, and one is trained: {}\n  '{}' does not depend on {} parameters, which would "
        "stay as they "
        "are: {}\n  --output {} trains it anyway; another name trains another output, and several are "
        "trained together by "
        "--loss OUTPUT=KIND for each",
        model.path(), other_outputs(model, outputs), output, names.size(), data::some_of(names, 20), output);
  return names;
}

// The batch that the data can fill, with what is left of an epoch said. samples: of each size class.
int64_t fitting_batch(const TrainOptions& o, const std::vector<int64_t>& samples, bool fixed_batch,
                      const Log& log) {
  const auto a_step = [&](int64_t batch) {
    return data::training_batches(samples, batch, false) >= o.accumulate;
  };
  if (fixed_batch || !a_step(1)) return o.network.batch;
  int64_t fits = 1;
  for (int64_t too_large = o.network.batch; too_large - fits > 1;) {
    const int64_t middle = fits + (too_large - fits) / 2;
    (a_step(middle) ? fits : too_large) = middle;
  }
  const std::string asked =
      fmt::format("--batch {}{}", o.network.batch,
                  o.accumulate > 1 ? fmt::format(" with --accumulate {}", o.accumulate) : "");
  if (samples.size() == 1) {
    log(fmt::format("{}: the data has {} samples, so batches have {}", asked, samples[0], fits));
  } else {
    log(fmt::format("{}: no {} are filled by the data's samples of one size, {} at most, so batches have {}",
                    asked, o.accumulate > 1 ? "such batches" : "batches",
                    *std::max_element(samples.begin(), samples.end()), fits));
  }
  return fits;
}

void report_last(const TrainOptions& o, int64_t batch, const Data& data, const Log& log) {
  const std::vector<int64_t> samples = data::samples_of_classes(*data.set);
  const int64_t all = data.set->size();
  const int64_t batches = data::training_batches(samples, batch, false);
  const int64_t left = all - batches / o.accumulate * o.accumulate * batch;
  if (left == 0 || batches < o.accumulate) return;
  const bool sized = samples.size() > 1;
  if (o.last == "keep") {
    log(sized ? fmt::format(
                    "the last batches of an epoch, one of each size, have {} samples together (--last keep)",
                    left)
              : fmt::format("the last batch of an epoch has {} samples (--last keep)", left));
    return;
  }
  log(fmt::format("{} of {} samples, others in each epoch, fill no {} {}and are left out of it{}", left, all,
                  o.accumulate > 1 ? "step" : "batch", sized ? "of one size " : "",
                  o.accumulate > 1 ? "" : " (--last keep trains them)"));
  for (size_t c = 0; c < samples.size(); ++c)
    if (samples[c] > 0 && samples[c] < batch)
      log(fmt::format("warning: the {} {} fill no batch of {} in any epoch and are never trained{}",
                      samples[c], name_of_size(data, c), batch,
                      o.accumulate > 1 ? "; a smaller --batch trains them"
                                       : "; a smaller --batch, or --last keep, trains them"));
}

}  // namespace

TrainingRun::TrainingRun(const TrainOptions& options, Place place, train::Progress progress, Log log)
    : o_(options),
      place_(std::move(place)),
      begins_(!options.resume || (place_.folder != nullptr && !train::has_checkpoint(place_.folder->path()))),
      log_(std::move(log)),
      storage_(parse_precision(options.network.precision)),
      chosen_(options.network),
      multiply_(parse_multiply(options.network.multiply, storage_)),
      tensors_{options.train, options.freeze},
      progress_(std::move(progress)) {}

TrainingRun::TrainingRun(const TrainOptions& options, const Arrays* example, Place place,
                         train::Progress progress, Log log)
    : TrainingRun(options, std::move(place), std::move(progress), std::move(log)) {
  if (o_.effective_batch > 0)
    throw usage_error(
        "--effective-batch {} is for train_model, which makes --batch and --accumulate of it: give a session "
        "these",
        o_.effective_batch);
  if (o_.lr == 0)
    log_(is_16bit(storage_)
             ? fmt::format("warning: --lr 0: no weight is trained; they are rounded to {}, and running "
                           "statistics of batch norms move",
                           o_.network.precision)
             : "warning: --lr 0: no weight changes, only running statistics of batch norms do");
  if (!o_.lora.empty()) o_.network.batchnorm = "freeze";
  open_network(example != nullptr);
  open_samples(example);
  choose_norms();
  compile();
  make_trainer();
}

void TrainingRun::open_network(bool given) {
  const onnx::Model as_read = open_model(o_.network, o_.network.batchnorm != "freeze", log_);
  resolve_normalization(o_.data, o_.network.model, as_read, log_, /*training=*/true);
  beginning_ = beginning_of(o_, as_read, given, classes_before());
  onnx::Model all = begun(as_read, beginning_, log_);
  if (beginning_.lora) {
    lora_ = with_lora(all, beginning_, log_);
    tensors_ = lora_->tensors;
    all = lora_->adapted;
  }
  outputs_ = outputs_of(all, o_.network).names;
  unused_ = parameters_not_trained(o_, all, outputs_);
  file_ = choose_output(all, o_.network, log_);
  bind_dims(*file_, o_.network.dims);
  roles_ = onnx::roles_of(*file_, tensors_);
  report_roles(roles_, log_);
  if (const auto shared = shared_tensors(*file_, roles_); !shared.empty())
    log_(fmt::format("  {} of them are read by several nodes (halftone inspect lists these)", shared.size()));
  check_result_names(*file_);
  std::vector<std::string> kept;
  for (const onnx::TensorRole& r : roles_)
    if (r.role != onnx::Role::kConstant) kept.push_back(r.name);
  train::check_own_names(kept, file_->path());
  if (!o_.resume && o_.config && place_.folder != nullptr) place_.folder->write_config(o_.config(recorded()));
}

data::ClassMap TrainingRun::classes_before() const {
  return o_.resume && place_.folder != nullptr ? train::classes_of_run(place_.folder->path())
                                               : data::ClassMap();
}

// --class-weights balanced becomes the training data's numbers.
void TrainingRun::weigh_classes() {
  if (o_.network.class_weights != kBalanced) return;
  const Log silent = [](const std::string&) {};
  onnx::Model model = *file_;
  Labelling labelling(unweighted(o_.network), o_.data, model, classes_before(), silent);
  const Data data = open_data(training_spec(o_.data), {"train"}, o_.data, model, labelling, silent);
  const auto by_class = data::samples_by_class(*data.set, "--class-weights balanced");
  const auto present =
      std::count_if(by_class.begin(), by_class.end(), [](const auto& s) { return !s.empty(); });
  std::string text;
  for (const auto& samples : by_class) {
    // A class without samples has nothing to be weighed against.
    const double weight = samples.empty()
                              ? 1
                              : static_cast<double>(data.set->size()) /
                                    (static_cast<double>(present) * static_cast<double>(samples.size()));
    text += fmt::format("{}{}", text.empty() ? "" : ",", weight);
  }
  o_.network.class_weights = text;
  log_(fmt::format("--class-weights balanced: {}", text));
}

// What stands behind the last layer may make other numbers of its rows, a Flatten over places for example.
void TrainingRun::check_new_head() const {
  const data::LabelReading& reading = data_.target.reading;
  if (!beginning_.head ||
      (reading.kind != data::LabelKind::kClass && reading.kind != data::LabelKind::kPositions))
    return;
  const int64_t rows = beginning_.head->rows;
  if (reading.classes != rows && !(rows == 1 && reading.classes == 2))
    throw input_error(
        "{}: output '{}' cannot get a new head of {} rows: the nodes behind its last layer make {} classes "
        "of them",
        file_->path(), beginning_.head->output, rows, reading.classes);
}

void TrainingRun::open_samples(const Arrays* example) {
  const bool goes_on = o_.resume && place_.folder != nullptr;
  if (example != nullptr && !example->empty() && !example->begin()->second.shape.empty())
    o_.network.batch = example->begin()->second.shape[0];
  weigh_classes();
  labelling_.emplace(o_.network, o_.data, *file_, classes_before(), log_);
  if (goes_on) labelling_->continue_columns(train::columns_of_run(place_.folder->path()));
  if (example != nullptr) {
    auto sizes = std::make_shared<Sizes>(*file_, labelling_->loss_graph() == nullptr
                                                     ? std::nullopt
                                                     : std::optional(*labelling_->loss_graph()));
    data_ = open_batch(*example, o_.data, *file_, *labelling_, log_);
    // Other batches may have other sizes.
    data_.size_classes = {sizes->add(data_.set->info(), data_.plan, "the example")};
    data_.sizes = sizes;
    labelling_->keep_sizes(std::move(sizes));
    HT_ASSERT(data_.set->size() == o_.network.batch, "{} samples", data_.set->size());
  } else {
    try {
      data_ = open_data(training_spec(o_.data), {"train"}, o_.data, *file_, *labelling_, log_);
    } catch (const Error& e) {
      const std::string advice = e.kind() == ErrorKind::kInput ? labelling_->new_head_advice() : "";
      if (advice.empty()) throw;
      throw Error(e.kind(), fmt::format("{}\n  {}", e.what(), advice));
    }
    if (begins_) warn_of_other_normalization(o_.network.model, data_.transform.normalization, log_);
    const std::vector<int64_t> samples = data::samples_of_classes(*data_.set);
    if (data::training_batches(samples, o_.network.batch, false) < o_.accumulate)
      o_.network.batch = fitting_batch(
          o_, samples, check_network(o_.network, *file_, ops::Mode::kTrain, tensors_, &data_), log_);
    check_length(o_, samples);
    report_last(o_, o_.network.batch, data_, log_);
  }
  check_new_head();
  const std::string val = example == nullptr ? validation_spec(o_.data, log_) : "";
  if (!val.empty()) {
    labelling_->validate(data_.set->info().source);
    // Sizes that the training data bound, but for those of which it has several.
    onnx::Model open = data_.sizes != nullptr ? data_.sizes->network() : *file_;
    val_data_ = open_data(val, {"val", "test"}, o_.data, open, *labelling_, log_);
    if (val_data_->sizes != nullptr) check_network(o_.network, open, ops::Mode::kEval, tensors_, &*val_data_);
  }
  fixed_batch_ = check_network(o_.network, *file_, ops::Mode::kTrain, tensors_, &data_);
  if (begins_) warn_of_mixed_samples(*file_, data_, o_.data, fixed_batch_ ? o_.network.batch : 0, log_);
  if (example != nullptr) reader_.emplace(data_, *example, *labelling_, o_.data);
}

PrecisionSubject TrainingRun::subject_of(const Data& data, ops::Mode mode) const {
  return PrecisionSubject{
      model(),    data,     data.target.loss,          multiply_, mode, batch_norms_->mode, fixed_batch_,
      restored(), tensors_, batch_norms_->frozen.norms};
}

void TrainingRun::choose_norms() {
  batch_norms_ = choose_batch_norms(o_.network, tensors_, *file_, data_, o_.data, log_);
  subject_.emplace(subject_of(data_, ops::Mode::kTrain));
  if (mixes()) batches_.emplace(subject_of(data_, ops::Mode::kTrain)).loss = mixed_loss();
  if (val_data_) evaluated_.emplace(subject_of(*val_data_, ops::Mode::kEval));
  // A run that is continued was checked when it began.
  if (begins_) checked_ = require_precision(*subject_, o_.network, o_.data, log_);
}

train::Importer TrainingRun::importer_of(DType storage) const {
  return make_importer(model(), storage, batch_norms_->mode, restored(), tensors_, batch_norms_->frozen.norms,
                       data_.sizes, data_.embedding);
}

// Of batches whose labels are shares.
pass::LossOptions TrainingRun::mixed_loss() const {
  pass::LossOptions loss = data_.target.loss;
  if (loss.loss != pass::Loss::kCrossEntropy || loss.labels != pass::Labels::kClasses || !loss.more.empty() ||
      loss.axis != pass::ClassAxis::kSample || loss.weighted)
    throw usage_error(
        "--mixup and --cutmix go with one loss, cross-entropy of one class a sample without weights; the "
        "loss is {}",
        pass::name_of(loss.loss));
  loss.labels = pass::Labels::kDistributions;
  return loss;
}

int64_t TrainingRun::steps_per_epoch() const {
  if (reader_) return 0;
  return data::training_batches(data::samples_of_classes(*data_.set), o_.network.batch, o_.last == "keep") /
         o_.accumulate;
}

train::CompileOptions TrainingRun::compile_options() const {
  train::CompileOptions n;
  n.training = training_options(o_, storage_, data_, batch_norms_->frozen.tensors);
  n.training.rates = rates_of(o_, model(), onnx::roles_of(model(), tensors_), steps_per_epoch(), log_);
  n.feeding = data_.plan.feeding;
  n.samples = samples_of(data_, storage_);
  const std::vector<int64_t> samples = data::samples_of_classes(*data_.set);
  const int64_t batch = o_.network.batch;
  const auto full =
      std::find_if(samples.begin(), samples.end(), [&](int64_t of_class) { return of_class >= batch; });
  n.size_class = data_.number(full == samples.end() ? 0 : static_cast<size_t>(full - samples.begin()));
  for (size_t c = 0; c < samples.size(); ++c) {
    if (samples[c] >= batch) n.more_batches.push_back({data_.number(c), batch});
    if (o_.last == "keep" && samples[c] % batch != 0)
      n.more_batches.push_back({data_.number(c), samples[c] % batch});
  }
  if (mixes()) {
    n.training.loss = mixed_loss();
    n.evaluation_loss = data_.target.loss;
    n.evaluation_feeding = data_.plan.feeding;
    n.evaluation_samples = samples_of(data_, storage_);
  }
  if (val_data_) {
    n.evaluation_loss = val_data_->target.loss;
    n.evaluation_feeding = val_data_->plan.feeding;
    n.evaluation_samples = samples_of(*val_data_, storage_);
    n.metrics_bytes = metrics_bytes(*val_data_);
  }
  n.multiply = multiply_;
  n.batch = batch;
  n.threads = threads_of(o_.network.threads);
  n.fixed_batch = fixed_batch_;
  n.measures_statistics = reader_ == std::nullopt &&
                          train::parse_statistics(o_.bn_statistics) != train::StatisticsChoice::kRunning;
  return n;
}

MemoryPlan TrainingRun::memory_plan(const train::CompileOptions& compile) {
  MemoryPlan plan;
  plan.importer = [this](DType of) { return importer_of(of); };
  plan.compile = compile;
  plan.training = true;
  plan.accumulate = o_.accumulate;
  plan.data = &data_;
  plan.validation = val_data_ ? &*val_data_ : nullptr;
  plan.data_options = &o_.data;
  plan.most_bytes = o_.memory_mib << 20;
  return plan;
}

BatchChoice TrainingRun::choose_batch(const TrainOptions& options) {
  TrainOptions o = options;
  o.network.check_precision = "off";  // the run that follows does it
  o.config = nullptr;
  TrainingRun run(o, {}, train::Progress({.style = train::ProgressStyle::kQuiet}, nullptr, nullptr),
                  [](const std::string&) {});
  run.open_network(false);
  run.open_samples(nullptr);
  run.choose_norms();
  const int64_t samples = run.o_.network.batch;
  train::CompileOptions compile = run.compile_options();
  std::vector<int64_t> batches = batches_of(samples);
  if (run.fixed_batch_) batches = {samples};
  // Whether a step is one batch decides whether gradients are added up.
  MemoryPlan plan = run.memory_plan(compile);
  if (const int64_t whole = largest_fitting_batch(plan, {samples}); whole > 0) return {samples, whole};
  batches.erase(batches.begin());
  plan.compile.training.accumulate = true;
  plan.accumulate = 2;
  return {samples, largest_fitting_batch(plan, batches)};
}

void TrainingRun::compile() {
  train::CompileOptions n = compile_options();
  memory_ = memory_plan(n);
  n.before_allocation = memory_check(memory_, log_);
  train::Network& network = network_.emplace(importer_of(storage_), n);
  report_narrowing(network.prepare_training(), storage_, log_);
  // A run that is continued was recorded as what it is; nothing is measured again.
  if (o_.network.multiply == "auto" && multiply_ == kern::Multiply::kBlock && begins_)
    rates_ = choose_multiply(network, log_);
  chosen_.multiply = name_of(network.options().multiply, storage_);
  losses_ = network.losses();
  network.measure_more();
  has_norms_ = !network.norms().empty();
  const pass::NetworkGraph& graph = network.training();
  if (o_.profile) network.measure_time();
  if (train::parse_statistics(o_.bn_statistics) == train::StatisticsChoice::kMeasure && !has_norms_)
    log_(
        "--bn-statistics measure: the network has no batch norm whose statistics are updated; nothing is "
        "measured");
  log_(fmt::format("{} trained tensors, {} frozen; loss {}; {} multiplies {}, {} threads, {}",
                   graph.trained.size(), graph.frozen.size(), describe(losses_), o_.network.precision,
                   chosen_.multiply, n.threads, kern::name_of(kern::active_isa())));
  if (lora_) report_lora();
  if (!unused_.empty())
    log_(fmt::format("{} more are frozen, because output '{}' does not depend on them: {}", unused_.size(),
                     fmt::join(outputs_, "', '"), data::some_of(unused_, 20)));
}

// What the network takes, and what training it takes besides, activations left out.
void TrainingRun::report_lora() {
  const std::vector<std::string>& moving = network_->moving_tensor_names();
  int64_t base = 0, weights = 0, state = 0;
  for (const auto& [name, tensor] : network_->store().all()) {
    const bool trained = std::binary_search(moving.begin(), moving.end(), name);
    (trained ? weights : network_->has_file_tensor(name) ? base : state) += tensor.bytes();
  }
  log_(
      fmt::format("memory: the network's own weights take {} in {}, without gradients and optimizer state; "
                  "what is trained takes {} "
                  "and {} of optimizer state; a step's activations and gradients: {}",
                  readable_bytes(base), o_.network.precision, readable_bytes(weights), readable_bytes(state),
                  readable_bytes(network_->planned_bytes() - base - weights - state)));
}

train::NoticedInfinities::Check TrainingRun::check_of(const PrecisionSubject& of) {
  return [this, &of](const data::Batch& batch, uint64_t micro_step) {
    return check_batch(of, o_.network, network_->options().multiply, batch, micro_step, network_->store());
  };
}

// What the run is continued with: with what `auto` became, but where there is no choice, so that the
// configuration leaves it open to runs in other precisions.
TrainOptions TrainingRun::recorded() const {
  TrainOptions recorded = o_;
  recorded.network = chosen_;
  if (o_.network.multiply == "auto" && chosen_.multiply == "wide") recorded.network.multiply = "auto";
  return recorded;
}

train::TrainerOptions TrainingRun::trainer_options() {
  train::TrainerOptions t;
  t.epochs = o_.epochs;
  t.max_steps = o_.steps;
  t.accumulate = o_.accumulate;
  t.lr = o_.lr;
  t.schedule = schedule_of(o_);
  t.warmup_steps = o_.warmup;
  t.clip_norm = o_.clip;
  t.loss_scale = o_.loss_scale;
  t.seed = o_.network.seed;
  if (place_.folder != nullptr) t.folder = place_.folder->path();
  if (o_.config) t.config = o_.config(recorded());
  t.classes = data_.names;
  t.checkpoint_every = o_.checkpoint_every;
  t.checkpoint_minutes = o_.checkpoint_minutes;
  if (place_.folder != nullptr) {
    TrainOptions begun_with = o_;
    begun_with.network.multiply = recorded().network.multiply;
    t.identity = identity_of(begun_with, t.config, *file_, data_, val_data_ ? &*val_data_ : nullptr);
    if (reader_)
      t.identity["training data"] = "batches that are given";  // the example's samples do not matter
  }
  t.accept_changes = o_.accept_changes;
  t.origin = {{"model", std::filesystem::absolute(file_->path()).string()},
              {"precision", o_.network.precision},
              {"batchnorm", o_.network.batchnorm}};
  if (lora_) t.origin[train::kTensorsInCheckpoints] = "moving";
  if (beginning_.changes())
    t.origin["beginning"] = t.identity["how the network begins"] = to_json(beginning_);
  const data::ColumnPlan& columns = data_.set->info().columns;
  if (!columns.empty()) t.identity["columns"] = data::to_json(columns);
  if (data_.tokenizer) t.identity["tokenizer"] = data_.tokenizer->contents;
  t.on_begin = [this] {
    if (place_.on_begin) place_.on_begin();
    if (place_.folder != nullptr) train::write_columns(place_.folder->path(), data_.set->info().columns);
    if (place_.folder != nullptr && before_) write_starting_point(place_.folder->path(), *before_);
    if (place_.folder != nullptr && data_.tokenizer) write_tokenizer(place_.folder->path(), *data_.tokenizer);
  };
  t.keep_checkpoints = o_.keep;
  t.log_every = o_.log_every;
  if (o_.patience > 0) t.patience = o_.patience;
  t.min_delta = o_.min_delta;
  t.eval_every = o_.eval_every;
  t.also_watch = parse_watch(o_.watch);
  t.watch = t.also_watch.front();
  t.also_watch.erase(t.also_watch.begin());
  t.keep_best = o_.keep_best;
  t.time_limit_seconds = o_.time_limit;
  t.statistics = train::parse_statistics(o_.bn_statistics);
  t.rate_of_step = place_.rate;
  if (o_.network.check_precision == "on") {
    t.check_batch = check_of(batches_ ? *batches_ : *subject_);
    if (evaluated_) t.check_evaluated = check_of(*evaluated_);
  }
  return t;
}

void TrainingRun::evaluate_first() {
  if (!begins_ && place_.folder != nullptr) {
    before_ = read_starting_point(place_.folder->path());
  } else if (o_.evaluate_first == "on" && val_loader_) {
    before_ = starting_point(*network_, *val_data_, o_.data, delivery(), o_.network.batch, log_);
  }
}

Delivery TrainingRun::delivery(bool keeps_last) const {
  return {storage_, network_->wants_channels_last(), keeps_last};
}

Delivery TrainingRun::training_delivery() const {
  Delivery d = delivery(o_.last == "keep");
  d.balanced = o_.balanced;
  d.mixing = {o_.mixup, o_.cutmix};
  return d;
}

// Before any work: what the first loss and the labels cannot have.
void TrainingRun::check_watch(const train::Watch& watch) const {
  using data::LabelKind;
  const data::DataInfo& info = val_data_->set->info();
  const pass::Loss loss = losses_.at(0).kind;
  const bool positions = info.labels == LabelKind::kPositions;
  const bool classes = info.labels == LabelKind::kClass || positions;
  const bool labels =
      info.labels == LabelKind::kTarget && (loss == pass::Loss::kBce || loss == pass::Loss::kBceWithLogits);
  const bool numbers = info.labels == LabelKind::kTarget && loss == pass::Loss::kMse;
  const std::string w = name_of(watch);
  if (w == "loss") return;
  if (w == "accuracy") {
    if (!classes) throw usage_error("--watch accuracy needs class labels");
    return;
  }
  const bool texts = pass::compares_texts(loss);
  const bool fits = w == "macro-f1" || w == "weighted-f1" ? classes || labels
                    : w == "auroc"                        ? (classes && !positions) || labels
                    : w == "top5"                         ? classes && info.classes > 5
                    : w == "mean-iou"                     ? positions
                    : w == "recall-at-1" || w == "mrr"    ? texts && loss != pass::Loss::kCosine
                    : w == "triplet-accuracy"             ? texts && val_data_->embedding.texts == 3
                    : w == "pearson" || w == "spearman"   ? numbers || loss == pass::Loss::kCosine
                                                          : numbers;
  if (!fits)
    throw usage_error("--watch {}: the validation data {} has no such figure with the loss {}", w,
                      info.source, pass::name_of(loss));
}

void TrainingRun::make_trainer() {
  if (!reader_)
    training_loader_ =
        make_loader(data_, o_.data, o_.network.batch, true, o_.network.seed, training_delivery());
  if (val_data_ && !place_.rate)
    val_loader_ = make_loader(*val_data_, o_.data, o_.network.batch, false, o_.network.seed, delivery());
  const train::TrainerOptions t = trainer_options();
  if (t.eval_every > 0 && !val_loader_) throw usage_error("--eval-every needs validation data: give --val");
  if ((t.patience || t.keep_best || t.schedule.kind == train::ScheduleKind::kPlateau) && !val_loader_)
    throw usage_error("--patience, --keep-best and --schedule plateau need validation data: give --val");
  for (const train::Watch& watch : parse_watch(o_.watch))
    if (val_loader_) check_watch(watch);
  trainer_ = std::make_unique<train::Trainer>(
      *network_, train::Samples{training_loader_.get(), data_.set.get()}, val_loader_.get(), t, progress_);
}

}  // namespace halftone::api
