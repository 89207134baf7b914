#include "train/network.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/resident.h"
#include "base/stop.h"
#include "kern/finite.h"
#include "kern/pointwise.h"
#include "ops/chunks.h"
#include "ops/effects.h"
#include "pass/arrange.h"
#include "pass/block_attention.h"
#include "pass/fuse.h"
#include "pass/layout.h"
#include "pass/watch.h"
#include "tensor/permutation.h"
#include "train/batch_statistics.h"

namespace halftone::train {
namespace {

double register_value(const Tensor& t, size_t i) {
  return t.dtype() == DType::kF64 ? t.as<double>()[i] : t.as<float>()[i];
}

// A score without parts says it all.
bool is_simple(const pass::NetworkGraph& n) {
  const pass::LossNode& first = n.losses[0];
  return n.losses.size() == 1 && first.weights == ir::kNone && first.weight == 1 &&
         first.kind != pass::Loss::kGraph;
}

std::vector<ir::ValueId> loss_values(const pass::NetworkGraph& n) {
  std::vector<ir::ValueId> values;
  for (const pass::LossNode& l : n.losses) values.push_back(l.loss);
  return values;
}

std::vector<pass::LossNode> described(const pass::NetworkGraph& n) {
  std::vector<pass::LossNode> losses = n.losses;
  for (pass::LossNode& l : losses) l.output = l.label = l.weights = l.total = l.loss = l.correct = ir::kNone;
  return losses;
}

std::optional<double> share_of(const std::optional<int64_t>& correct, int64_t all) {
  if (!correct || all == 0) return std::nullopt;
  return static_cast<double>(*correct) / static_cast<double>(all);
}

// The labels of a loss in a batch, and their field.
const data::BatchField& labels_of(const pass::LossNode& loss, const data::Batch& batch) {
  for (const data::BatchField& field : batch.fields) {
    const bool labels = field.role == data::FieldRole::kLabel || field.role == data::FieldRole::kTarget;
    if (labels && (loss.field.empty() || field.name == loss.field)) return field;
  }
  HT_ASSERT(false, "a batch without labels {}", loss.field);
  std::abort();
}

// What these labels count: the first such field, which stands behind them. An array may have its name.
const Tensor& weights_of(const data::BatchField& labels, const data::Batch& batch) {
  const std::string name = data::weights_of(labels.name);
  for (const data::BatchField& field : batch.fields)
    if (field.role == data::FieldRole::kWeight && field.name == name) return field.data;
  HT_ASSERT(false, "a batch without {}", name);
  std::abort();
}

// How many sizes of batches stay compiled, where a host gives ever new ones.
constexpr size_t kMostSizes = 64;

// Of `most` programs the one that was not used for longest goes.
template <class Programs>
void make_room(Programs& programs, size_t most) {
  if (programs.size() < most) return;
  programs.erase(std::min_element(programs.begin(), programs.end(), [](const auto& a, const auto& b) {
    return a.second.used < b.second.used;
  }));
}

Tensor copy_of(const exec::Program& p, ir::ValueId id) {
  const ir::Type& type = p.graph().value(id).type;
  Tensor t(type.dtype, type.shape);
  std::memcpy(t.data(), p.data(id), static_cast<size_t>(t.bytes()));
  return t;
}

}  // namespace

std::optional<double> PartScore::accuracy() const {
  return share_of(correct, targets);
}

std::optional<double> Score::accuracy() const {
  return share_of(correct, targets);
}

double Score::loss() const {
  if (parts.empty()) return samples > 0 ? loss_sum / static_cast<double>(samples) : 0;
  double sum = 0;
  for (const PartScore& part : parts) sum += part.share * part.loss();
  return sum;
}

void Score::add(const Score& other) {
  loss_sum += other.loss_sum;
  if (other.correct) correct = correct.value_or(0) + *other.correct;
  samples += other.samples;
  targets += other.targets;
  if (parts.empty()) {
    parts = other.parts;
  } else {
    for (size_t i = 0; i < other.parts.size(); ++i) {
      parts[i].loss_sum += other.parts[i].loss_sum;
      parts[i].weight += other.parts[i].weight;
      parts[i].targets += other.parts[i].targets;
      if (other.parts[i].correct) parts[i].correct = parts[i].correct.value_or(0) + *other.parts[i].correct;
    }
  }
  losses.insert(losses.end(), other.losses.begin(), other.losses.end());
  hits.insert(hits.end(), other.hits.begin(), other.hits.end());
}

Network::Network(Importer importer, const CompileOptions& options)
    : importer_(std::move(importer)),
      options_(options),
      pool_(options.threads),
      kernels_(kern::kernels_for(options.training.storage)) {
  if (options_.only_plan) arena_.only_count();
  if (options_.before_allocation)
    arena_.before_growth([this](int64_t bytes) { options_.before_allocation(bytes + fresh_bytes()); });
}

int64_t Network::fresh_bytes() const {
  constexpr int64_t kMapped = 1 << 20;  // smaller ones are resident as soon as they are made
  if (training_) return 0;
  int64_t bytes = 0;
  for (const auto& [name, tensor] : store_.all())
    if (storage_axes_.count(name) == 0 && tensor.bytes() >= kMapped) bytes += tensor.bytes();
  return bytes;
}

std::string describe(const Fault& fault, const data::Batch& batch, const data::Dataset& data) {
  const auto row = static_cast<size_t>(fault.row);
  return fault.row < 0 || row >= batch.indices.size()
             ? describe(fault.first)
             : fmt::format("{} ({})", describe(fault.first), data.name(batch.indices[row]));
}

std::vector<pass::NarrowLoss> Network::load(const ir::Graph& graph, bool training) {
  std::vector<pass::NarrowLoss> losses;
  const bool narrows = is_16bit(options_.training.storage);
  for (const ir::Value& value : graph.values) {
    if (!value.persistent() || !value.has_initial()) continue;
    if (value.lifetime == ir::Lifetime::kCheckpointed) {
      const auto axes = storage_axes_.emplace(value.name, value.storage_axes).first;
      if (axes->second != value.storage_axes)
        throw input_error(
            "tensor {}: the network would keep it in one order for samples of one size, and in another for "
            "others; "
            "expected samples of one size",
            value.name);
    }
    if (const Tensor* there = store_.find(value.name)) {
      HT_ASSERT(there->shape() == value.type.shape && there->dtype() == value.type.dtype, "{} has two types",
                value.name);
      continue;
    }
    pass::NarrowLoss loss;
    Tensor tensor = pass::narrow(value, narrows ? &loss : nullptr);
    pass::refuse_non_finite(value, tensor, training);
    store_.put(value.name, std::move(tensor));
    if (loss.overflowed > 0)
      throw input_error(
          "{} of the {} values of {} are beyond the range of {} (largest magnitude {:g}); try --precision "
          "bf16",
          loss.overflowed, loss.elements, value.name, name_of(value.type.dtype), loss.largest);
    if (narrows && is_16bit(value.type.dtype)) losses.push_back(loss);
  }
  return losses;
}

std::vector<pass::NarrowLoss> Network::prepare_training() {
  Compiled compiled;
  compiled.network = pass::training_graph(importer_(options_.batch, ops::Mode::kTrain, options_.size_class),
                                          sized(options_.training, options_.size_class));
  losses_ = described(compiled.network);
  moving_ = compiled.network.trained;
  moving_.insert(moving_.end(), compiled.network.statistics.begin(), compiled.network.statistics.end());
  std::sort(moving_.begin(), moving_.end());
  std::vector<pass::NarrowLoss> losses = load(compiled.network.graph, true);
  compile(compiled);
  training_ = std::move(compiled);
  current_ = &*training_;
  watch(*training_);
  compile_more();
  compile_statistics();
  // What importing and compiling took goes back to the system, before the steps' memory comes on top of it.
  release_unneeded_pages();
  return losses;
}

std::vector<pass::NarrowLoss> Network::prepare_forward(ops::Mode mode) {
  Compiled compiled;
  compiled.network =
      pass::evaluation_graph(importer_(options_.batch, mode, options_.size_class), options_.training.storage,
                             sized(options_.training.loss, options_.size_class));
  losses_ = described(compiled.network);
  std::vector<pass::NarrowLoss> losses = load(compiled.network.graph, mode == ops::Mode::kTrain);
  compile(compiled);
  training_ = std::move(compiled);
  current_ = &*training_;
  release_unneeded_pages();
  return losses;
}

pass::LossOptions Network::sized(pass::LossOptions loss, size_t size_class) const {
  loss.size_class = size_class;
  for (pass::LossOptions& more : loss.more) more.size_class = size_class;
  return loss;
}

pass::TrainingOptions Network::sized(pass::TrainingOptions training, size_t size_class) const {
  training.loss = sized(std::move(training.loss), size_class);
  return training;
}

// The same steps for batches of another size, over the same store and arena.
Network::Compiled& Network::compile_training(const BatchSize& size) {
  Compiled compiled;
  compiled.network = pass::training_graph(importer_(size.count, ops::Mode::kTrain, size.size_class),
                                          sized(options_.training, size.size_class));
  HT_ASSERT(compiled.network.trained == training_->network.trained,
            "other tensors are trained for another size");
  load(compiled.network.graph, true);
  compile(compiled);
  watch(compiled);
  compiled.program->look_at_all(looks_at_all_);
  if (measures_time_) compiled.program->measure_time();
  make_room(more_training_, std::max(kMostSizes, options_.more_batches.size()));
  return more_training_.insert_or_assign(size, std::move(compiled)).first->second;
}

void Network::compile_more() {
  more_training_.clear();
  for (const BatchSize& size : options_.more_batches) {
    if (size == main_size()) continue;
    try {
      compile_training(size);
    } catch (const Error& e) {
      if (size.count == options_.batch) throw;
      throw Error(e.kind(), fmt::format("--last keep: the last batch of an epoch has {} of {} samples, and "
                                        "with that size: {}\n  another "
                                        "--batch leaves another number, and --last drop leaves them out",
                                        size.count, options_.batch, e.what()));
    }
  }
}

Network::Compiled& Network::training_of(const data::Batch& batch) {
  const BatchSize size{batch.size_class, batch.count};
  if (size == main_size()) return *training_;
  const auto known = more_training_.find(size);
  Compiled& compiled = known != more_training_.end() ? known->second : compile_training(size);
  compiled.used = ++uses_;
  return compiled;
}

void Network::look_at_all(bool all) {
  looks_at_all_ = all;
  training_->program->look_at_all(all);
  for (auto& [size, compiled] : more_training_) compiled.program->look_at_all(all);
}

void Network::measure_time() {
  measures_time_ = true;
  training_->program->measure_time();
  for (auto& [size, compiled] : more_training_) compiled.program->measure_time();
}

std::vector<std::pair<std::string, double>> Network::time_by_operator() const {
  std::map<std::string, double> seconds;
  const auto add = [&](const exec::Program& program) {
    for (const auto& [op, of_op] : program.time_by_operator()) seconds[op] += of_op;
  };
  add(*training_->program);
  for (const auto& [size, compiled] : more_training_) add(*compiled.program);
  std::vector<std::pair<std::string, double>> sorted(seconds.begin(), seconds.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return sorted;
}

exec::Program& Network::forward(const data::Batch& batch) {
  training_->program->attach();
  feed(*training_, batch, options_.batch);
  return *training_->program;
}

std::optional<exec::MultiplyRates> Network::measure_multiply(double seconds) {
  return exec::measure_multiply(training_->program->products(), kernels_, seconds);
}

void Network::use_multiply(kern::Multiply multiply) {
  if (multiply == options_.multiply) return;
  options_.multiply = multiply;
  training_->network.graph = training_->program->graph();
  compile(*training_);
  watch(*training_);
  compile_more();
  compile_statistics();
}

void Network::watch(Compiled& compiled) const {
  if (!is_16bit(options_.training.storage)) return;
  exec::Program& p = *compiled.program;
  p.watch(pass::watch(p.graph(), loss_values(compiled.network), options_.multiply));
}

void Network::compile(Compiled& compiled) {
  const std::vector<ir::ValueId> lent =
      lent_inputs(compiled.network.graph, compiled.network.inputs, compiled.evaluates);
  compiled.program = std::make_unique<exec::Program>(std::move(compiled.network.graph), kernels_,
                                                     options_.multiply, pool_, store_, arena_, lent);
}

// Those that take the samples as the batches have them.
std::vector<ir::ValueId> Network::lent_inputs(const ir::Graph& graph, const std::vector<ir::ValueId>& inputs,
                                              bool evaluates) {
  const bool own = evaluates && options_.evaluation_feeding;
  const std::optional<SamplesInBatches>& samples = own ? options_.evaluation_samples : options_.samples;
  std::vector<ir::ValueId> lent;
  if (!samples) return lent;
  const Feeding& feeding = own ? *options_.evaluation_feeding : options_.feeding;
  const std::vector<int64_t> last = channels_last(4);
  for (const ir::ValueId id : inputs) {
    const ir::Value& value = graph.value(id);
    const auto field = feeding.find(value.name);
    if (field != feeding.end() && field->second != samples->field) continue;
    if (!channels_last_) channels_last_ = value.storage_axes == last;
    const std::vector<int64_t> axes =
        *channels_last_ && samples->can_be_channels_last ? last : std::vector<int64_t>();
    if (value.type.dtype == samples->storage && value.storage_axes == axes) lent.push_back(id);
  }
  return lent;
}

void Network::compile_statistics() {
  statistics_.clear();
  measured_ = nullptr;
  add_statistics(options_.size_class, *training_);
  for (const auto& [size, compiled] : more_training_)
    if (size.count == options_.batch) add_statistics(size.size_class, compiled);
}

void Network::add_statistics(size_t size_class, const Compiled& training) {
  Statistics& of = statistics_[size_class];
  of.network = pass::statistics_graph(training.program->graph(), training.network.inputs);
  const auto same = [](const pass::StatisticsOfNorm& a, const pass::StatisticsOfNorm& b) {
    return a.mean == b.mean;
  };
  HT_ASSERT(
      std::equal(of.network.norms.begin(), of.network.norms.end(), norms().begin(), norms().end(), same),
      "other norms");
  if (of.network.norms.empty() || !options_.measures_statistics) return;
  std::vector<ir::ValueId> lent;
  for (size_t i = 0; i < of.network.inputs.size(); ++i)
    if (of.network.inputs[i] != ir::kNone && training.program->is_lent(training.network.inputs[i]))
      lent.push_back(of.network.inputs[i]);
  of.program = std::make_unique<exec::Program>(std::move(of.network.graph), kernels_, options_.multiply,
                                               pool_, store_, arena_, lent);
}

int64_t Network::statistics_bytes() const {
  int64_t channels = 0;
  for (const pass::StatisticsOfNorm& norm : norms()) channels += store_.find(norm.mean)->size();
  return channels * BatchStatistics::kBytesPerChannel;
}

std::vector<pass::NarrowLoss> Network::prepare_evaluation() {
  pass::NetworkGraph network =
      pass::evaluation_graph(importer_(options_.batch, ops::Mode::kEval, options_.size_class),
                             options_.training.storage, sized(evaluation_loss(), options_.size_class));
  std::vector<pass::NarrowLoss> losses = load(network.graph, false);
  losses_ = described(network);
  evaluation(main_size());
  return losses;
}

const pass::LossOptions& Network::evaluation_loss() const {
  return options_.evaluation_loss ? *options_.evaluation_loss : options_.training.loss;
}

Network::Compiled& Network::evaluation(const BatchSize& size) {
  const auto it = evaluation_.find(size);
  if (it != evaluation_.end()) {
    it->second.used = ++uses_;
    return it->second;
  }
  Compiled compiled;
  compiled.evaluates = true;
  compiled.network =
      pass::evaluation_graph(importer_(size.count, ops::Mode::kEval, size.size_class),
                             options_.training.storage, sized(evaluation_loss(), size.size_class));
  load(compiled.network.graph, false);
  compile(compiled);
  watch(compiled);
  compiled.used = ++uses_;
  make_room(evaluation_, 2 * kMostSizes);
  return evaluation_.emplace(size, std::move(compiled)).first->second;
}

const pass::NetworkGraph& Network::training() const {
  HT_ASSERT(training_.has_value());
  return training_->network;
}

int64_t Network::planned_bytes() const {
  if (planned_bytes_ > 0) return planned_bytes_;
  int64_t bytes = arena_.largest_bytes() + store_.bytes() + options_.metrics_bytes;
  if (training_) bytes += training_->program->constant_bytes();
  for (const auto& [size, compiled] : more_training_) bytes += compiled.program->constant_bytes();
  for (const auto& [size, compiled] : evaluation_) bytes += compiled.program->constant_bytes();
  for (const auto& [size, plain] : plain_) bytes += plain.program->constant_bytes();
  for (const auto& [size_class, compiled] : gradients_) bytes += compiled.program->constant_bytes();
  bool measures = false;
  for (const auto& [size_class, of] : statistics_) {
    if (of.program == nullptr) continue;
    bytes += of.program->constant_bytes();
    measures = true;
  }
  if (measures) bytes += statistics_bytes();
  return bytes;
}

void Network::feed(Compiled& compiled, const data::Batch& batch, int64_t count) {
  const bool own = compiled.evaluates && options_.evaluation_feeding;
  feed_inputs(*compiled.program, kernels_, compiled.network.inputs,
              own ? *options_.evaluation_feeding : options_.feeding, batch, count);
  for (const pass::LossNode& loss : compiled.network.losses)
    if (loss.label != ir::kNone) feed_labels(*compiled.program, loss, batch, count);
  const std::vector<pass::LossNode>& losses = compiled.network.losses;
  for (size_t i = 0; i < losses.size(); ++i) {
    if (losses[i].total == ir::kNone) continue;
    HT_ASSERT(totals_.size() == losses.size(), "a micro-batch before begin_step()");
    feed_total(*compiled.program, losses[i], totals_[i]);
  }
}

void Network::feed_total(exec::Program& p, const pass::LossNode& loss, double total) const {
  void* to = p.data(loss.total);
  if (p.graph().value(loss.total).type.dtype == DType::kF64) {
    *static_cast<double*>(to) = total;
  } else {
    *static_cast<float*>(to) = static_cast<float>(total);
  }
}

bool Network::depends_on_step() const {
  const std::vector<pass::LossNode>& losses = training_->network.losses;
  return std::any_of(losses.begin(), losses.end(),
                     [](const pass::LossNode& l) { return l.total != ir::kNone; });
}

void Network::begin_step(const std::vector<data::Batch>& micro_batches) {
  const std::vector<pass::LossNode>& losses = training_->network.losses;
  totals_.assign(losses.size(), 0);
  for (size_t i = 0; i < losses.size(); ++i) {
    if (losses[i].total == ir::kNone) continue;
    for (const data::Batch& batch : micro_batches) {
      const Tensor& weights = weights_of(labels_of(losses[i], batch), batch);
      for (const float w : weights.as<float>()) totals_[i] += static_cast<double>(w);
    }
    totals_[i] /= static_cast<double>(micro_batches.size());
  }
}

void Network::feed_labels(exec::Program& p, const pass::LossNode& loss, const data::Batch& batch,
                          int64_t count) {
  const ir::Type& label = p.graph().value(loss.label).type;
  const auto labels = static_cast<size_t>(elements(label.shape));
  void* target = p.data(loss.label);
  const data::BatchField& field = labels_of(loss, batch);
  const bool classes = field.role == data::FieldRole::kLabel;
  const Tensor& from = field.data;
  // The decision of train/target.h: exactly one row of labels a sample.
  const int64_t rows = from.empty() ? 0 : from.shape().at(0);
  HT_ASSERT(rows >= count && static_cast<int64_t>(labels) * rows == from.size() * count,
            "{} labels for {} of {} samples, which need {}", from.size(), count, rows, labels);
  const auto copy_floats = [](const Tensor& numbers, size_t n, const ir::Type& type, void* to) {
    const bool whole = numbers.dtype() == DType::kI32;
    for (size_t i = 0; i < n; ++i) {
      const float t = whole ? static_cast<float>(numbers.as<int32_t>()[i]) : numbers.as<float>()[i];
      if (type.dtype == DType::kF64) {
        static_cast<double*>(to)[i] = t;
      } else {
        static_cast<float*>(to)[i] = t;
      }
    }
  };
  if (loss.weights != ir::kNone)
    copy_floats(weights_of(field, batch), labels, p.graph().value(loss.weights).type, p.data(loss.weights));
  if (label.dtype == DType::kI32) {
    HT_ASSERT(classes, "targets for a loss of classes");
    std::memcpy(target, from.data(), labels * sizeof(int32_t));
    return;
  }
  copy_floats(from, labels, label, target);
}

std::vector<float> Network::sample_losses(const Compiled& compiled, int64_t count) const {
  const pass::NetworkGraph& n = compiled.network;
  if (is_simple(n)) return losses_of_samples(compiled, n.losses[0], count);
  std::vector<float> sum(static_cast<size_t>(count));
  for (const pass::LossNode& l : n.losses) {
    const std::vector<float> part = losses_of_samples(compiled, l, count);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<float>(l.weight) * part[i];
  }
  return sum;
}

std::vector<double> Network::label_losses(size_t loss) const {
  const pass::LossNode& l = training_->network.losses.at(loss);
  const exec::Program& p = *training_->program;
  std::vector<double> losses;
  if (l.correct == ir::kNone) return losses;
  const Tensor values = converted(copy_of(p, l.loss), DType::kF64);
  losses.assign(values.as<double>().begin(), values.as<double>().end());
  if (l.weights == ir::kNone) return losses;
  const Tensor weights = converted(copy_of(p, l.weights), DType::kF64);
  double sum = 0;
  for (const double w : weights.as<double>()) sum += w;
  for (double& x : losses) x *= sum > 0 ? static_cast<double>(losses.size()) / sum : 0;
  return losses;
}

std::vector<float> Network::losses_of_samples(const Compiled& compiled, const pass::LossNode& n,
                                              int64_t count) const {
  const exec::Program& p = *compiled.program;
  std::vector<float> losses;
  if (n.kind == pass::Loss::kGraph) {
    const Tensor values = converted(copy_of(p, n.loss), DType::kF32);
    losses.assign(values.as<float>().begin(), values.as<float>().end());
    losses.resize(static_cast<size_t>(count), losses.front());  // one number is the batch's
    return losses;
  }
  if (n.weights != ir::kNone) {
    // The mean over what counts of a sample.
    const Tensor values = converted(copy_of(p, n.loss), DType::kF64);
    const Tensor weights = converted(copy_of(p, n.weights), DType::kF64);
    const int64_t positions = values.size() / count;
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
      double weight = 0;
      for (int64_t k = i * positions; k < (i + 1) * positions; ++k) {
        sum += values.as<double>()[static_cast<size_t>(k)];
        weight += weights.as<double>()[static_cast<size_t>(k)];
      }
      losses.push_back(static_cast<float>(weight > 0 ? sum / weight : sum));
    }
    return losses;
  }
  if (n.kind == pass::Loss::kCrossEntropy || pass::compares_texts(n.kind)) {
    Tensor values(p.graph().value(n.loss).type.dtype, {count});
    std::memcpy(values.data(), p.data(n.loss), static_cast<size_t>(values.bytes()));
    for (int64_t i = 0; i < count; ++i)
      losses.push_back(static_cast<float>(register_value(values, static_cast<size_t>(i))));
    return losses;
  }
  // The program has sums over chunks of elements; the same kernel gives a sample's.
  const ir::Type& output = p.graph().value(n.output).type;
  const DType target = p.graph().value(n.label).type.dtype;
  const int64_t per_sample = elements(output.shape) / count;
  const kern::PointwiseLoss kind = n.kind == pass::Loss::kMse ? kern::PointwiseLoss::kSquaredError
                                   : n.kind == pass::Loss::kBce
                                       ? kern::PointwiseLoss::kBinaryCrossEntropy
                                       : kern::PointwiseLoss::kBinaryCrossEntropyWithLogits;
  Tensor sum(register_type(output.dtype), {1});
  for (int64_t i = 0; i < count; ++i) {
    kernels_.pointwise_loss({kind, output.dtype,
                             ops::at(p.data(n.output), i * per_sample * size_bytes(output.dtype)),
                             ops::at(p.data(n.label), i * per_sample * size_bytes(target)), per_sample, 1.0F,
                             sum.data(), nullptr});
    losses.push_back(static_cast<float>(register_value(sum, 0) / static_cast<double>(per_sample)));
  }
  return losses;
}

std::optional<int64_t> Network::correct_of_two(const Compiled& compiled, const pass::LossNode& n,
                                               const data::Batch& batch, int64_t count,
                                               std::vector<uint8_t>* hits) const {
  const exec::Program& p = *compiled.program;
  const bool binary = n.kind == pass::Loss::kBce || n.kind == pass::Loss::kBceWithLogits;
  const data::BatchField& labels = labels_of(n, batch);
  const bool single = elements(p.graph().value(n.output).type.shape) == count;
  if (!binary || !single || labels.role != data::FieldRole::kLabel) return std::nullopt;
  const Tensor x = converted(copy_of(p, n.output), DType::kF64);
  const double border = n.kind == pass::Loss::kBce ? 0.5 : 0.0;
  int64_t correct = 0;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const bool right = (x.as<double>()[i] > border) == (labels.data.as<int32_t>()[i] == 1);
    correct += right ? 1 : 0;
    if (hits != nullptr) hits->push_back(right ? 1 : 0);
  }
  return correct;
}

PartScore Network::part_score(const Compiled& compiled, const pass::LossNode& n, const data::Batch& batch,
                              int64_t count) const {
  const exec::Program& p = *compiled.program;
  PartScore s;
  s.share = n.weight;
  s.weight = static_cast<double>(count);
  s.targets = count;
  const Tensor losses = copy_of(p, n.loss);
  for (int64_t i = 0; i < losses.size(); ++i) s.loss_sum += register_value(losses, static_cast<size_t>(i));
  if (n.kind == pass::Loss::kGraph) {
    if (losses.size() == 1) s.loss_sum *= static_cast<double>(count);
    return s;
  }
  if (n.weights != ir::kNone) {
    const Tensor weights = copy_of(p, n.weights);
    const auto* correct = static_cast<const int32_t*>(p.data(n.correct));
    s.weight = 0;
    s.targets = 0;
    s.correct = 0;
    for (size_t i = 0; i < static_cast<size_t>(weights.size()); ++i) {
      const double w = register_value(weights, i);
      s.weight += w;
      if (w == 0) continue;
      ++s.targets;
      *s.correct += correct[i] != 0 ? 1 : 0;
    }
    return s;
  }
  if (n.correct != ir::kNone) {
    const auto* correct = static_cast<const int32_t*>(p.data(n.correct));
    s.correct = std::count_if(correct, correct + count, [](int32_t c) { return c != 0; });
  }
  if (n.kind == pass::Loss::kCrossEntropy || pass::compares_texts(n.kind)) return s;
  s.loss_sum /= static_cast<double>(elements(p.graph().value(n.output).type.shape) / count);
  s.correct = correct_of_two(compiled, n, batch, count, nullptr);
  return s;
}

Score Network::score(const Compiled& compiled, const data::Batch& batch, int64_t count,
                     bool keep_samples) const {
  const exec::Program& p = *compiled.program;
  Score s;
  s.samples = s.targets = count;
  if (!is_simple(compiled.network)) {
    for (const pass::LossNode& l : compiled.network.losses)
      s.parts.push_back(part_score(compiled, l, batch, count));
    for (const PartScore& part : s.parts) {
      if (!part.correct || s.correct) continue;
      s.correct = part.correct;
      s.targets = part.targets;
    }
    s.loss_sum = s.loss() * static_cast<double>(count);
    if (keep_samples) s.losses = sample_losses(compiled, count);
    return s;
  }
  const pass::LossNode& n = compiled.network.losses[0];
  const ir::Type& loss = p.graph().value(n.loss).type;
  Tensor losses(loss.dtype, loss.shape);
  std::memcpy(losses.data(), p.data(n.loss), static_cast<size_t>(losses.bytes()));
  for (int64_t i = 0; i < losses.size(); ++i) s.loss_sum += register_value(losses, static_cast<size_t>(i));
  if (keep_samples) s.losses = sample_losses(compiled, count);
  if (n.correct != ir::kNone) {
    const auto* correct = static_cast<const int32_t*>(p.data(n.correct));
    s.correct = 0;
    for (int64_t i = 0; i < count; ++i) {
      *s.correct += correct[i] != 0 ? 1 : 0;
      if (keep_samples) s.hits.push_back(correct[i] != 0 ? 1 : 0);
    }
    return s;
  }
  if (n.kind == pass::Loss::kCrossEntropy || pass::compares_texts(n.kind)) return s;
  // Element-wise losses give sums over elements: make them a mean over a sample's elements, times samples.
  const ir::Type& output = p.graph().value(n.output).type;
  const int64_t per_sample = elements(output.shape) / count;
  s.loss_sum /= static_cast<double>(per_sample);
  s.correct = correct_of_two(compiled, n, batch, count, keep_samples ? &s.hits : nullptr);
  return s;
}

Score Network::compute(const data::Batch& batch) {
  Compiled& c = training_of(batch);
  current_ = &c;
  c.program->attach();
  feed(c, batch, batch.count);
  c.program->run(ir::Phase::kCompute, state_);
  return score(c, batch, batch.count, false);
}

bool Network::gradients_finite() const {
  const exec::Program& p = *current_->program;
  for (const ir::Node& node : p.graph().nodes)
    if (ops::verdict_of(node) == ops::Verdict::kGives)
      return std::all_of(node.inputs.begin(), node.inputs.end(),
                         [&](ir::ValueId id) { return p.all_finite(id); });
  return true;
}

void Network::update() {
  current_->program->run(ir::Phase::kUpdate, state_);
}

std::optional<Fault> Network::find_non_finite(const data::Batch& batch) {
  return find_non_finite(training_of(batch), batch, batch.count);
}

std::optional<Fault> Network::find_non_finite(Compiled& compiled, const data::Batch& batch, int64_t count) {
  // What the skipped step left in the sums of gradients is no cause.
  if (state_.micro_index == 0) store_.clear_scratch();
  compiled.program->attach();
  feed(compiled, batch, count);
  const auto first = compiled.program->find_non_finite(state_);
  if (!first) return std::nullopt;
  Fault fault{*first, stage_of(*first, compiled.program->graph(), loss_values(compiled.network))};
  fault.row = row_of(compiled, fault, count);
  return fault;
}

int64_t Network::row_of(const Compiled& compiled, const Fault& fault, int64_t count) const {
  const exec::Program& p = *compiled.program;
  if (fault.stage == Stage::kLoss) {
    const std::vector<float> losses = sample_losses(compiled, count);
    const auto bad = std::find_if(losses.begin(), losses.end(), [](float x) { return !std::isfinite(x); });
    return bad == losses.end() ? -1 : bad - losses.begin();
  }
  if (fault.stage != Stage::kSample) return -1;
  std::vector<ir::ValueId> fed = compiled.network.inputs;
  for (const pass::LossNode& l : compiled.network.losses)
    if (l.label != ir::kNone) fed.push_back(l.label);
  for (const ir::ValueId id : fed) {
    if (p.data(id) == nullptr) continue;  // nobody reads it
    const ir::Type& type = p.graph().value(id).type;
    const int64_t width = elements(type.shape) / count;
    for (int64_t row = 0; row < count; ++row)
      if (kern::any_non_finite(type.dtype, ops::at(p.data(id), row * width * size_bytes(type.dtype)), width))
        return row;
  }
  return -1;
}

std::optional<std::string> Network::non_finite_tensor() const {
  for (const auto& [name, tensor] : store_.all())
    if (is_checkpointed(name) && kern::any_non_finite(tensor.dtype(), tensor.data(), tensor.size()))
      return name;
  return std::nullopt;
}

Score Network::evaluate(data::Loader& loader, const std::function<void(int64_t)>& progress,
                        const std::function<bool(int64_t)>& more, const OnNoticed& noticed) {
  const Interruptible anywhere;
  Score total;
  evaluated_.clear();
  metrics_.clear();
  loader.start(0);
  data::Batch batch;
  while (loader.next(batch)) {
    check_stop();
    const int64_t samples = batch.count;
    const bool fill = options_.fixed_batch && samples < options_.batch;
    const int64_t rows = fill ? options_.batch : samples;
    Compiled& c = evaluation({batch.size_class, rows});
    Score of_batch;
    std::optional<exec::NonFinite> infinity;
    if (fill) {
      of_batch = evaluate_filled(batch, infinity);
    } else {
      c.program->attach();
      feed(c, batch, rows);
      c.program->run(ir::Phase::kCompute, state_);
      if (!c.program->noticed().empty()) infinity = c.program->noticed().front();
      of_batch = score(c, batch, rows, true);
      measure(c, batch, rows);
    }
    if (!std::isfinite(of_batch.loss_sum)) {
      const auto fault = find_non_finite(c, batch, rows);
      throw numerical_error(
          "evaluation in {}: the loss of samples {} to {} is not finite; the first non-finite tensor is {}\n "
          " {}",
          name_of(options_.training.storage), total.samples, total.samples + samples - 1,
          fault ? describe(*fault, batch, loader.dataset()) : "the sum of the losses",
          remedy(fault ? fault->stage : Stage::kLoss,
                 {options_.training.storage, training_.has_value(), training_.has_value()}));
    }
    if (infinity && noticed)
      noticed(*infinity, batch, static_cast<int64_t>(evaluated_.size()), total.samples);
    total.add(of_batch);
    evaluated_.push_back(of_batch);
    if (progress) progress(total.samples);
    if (more && !more(static_cast<int64_t>(evaluated_.size()))) break;
  }
  return total;
}

void Network::measure(const Compiled& compiled, const data::Batch& batch, int64_t rows) {
  if (!measures_more_) return;
  const exec::Program& p = *compiled.program;
  const std::vector<pass::LossNode>& losses = compiled.network.losses;
  metrics_.resize(losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    const pass::LossNode& n = losses[i];
    if (n.kind == pass::Loss::kGraph) continue;
    if (pass::compares_texts(n.kind)) {
      measure_texts(compiled, n, batch, rows, metrics_[i]);
      continue;
    }
    const data::BatchField& labels = labels_of(n, batch);
    const int64_t batch_rows = labels.data.shape().at(0);
    const Tensor out = converted(copy_of(p, n.output), DType::kF32);
    const int64_t samples = p.graph().value(compiled.network.inputs.at(0)).type.shape.at(0);
    // Of the samples that count alone.
    const auto part = [rows](const Tensor& t, int64_t of) {
      return t.as<float>().first(static_cast<size_t>(t.size() / of * rows));
    };
    const std::span<const float> scores = part(out, samples);
    const bool logistic = n.kind == pass::Loss::kBceWithLogits;
    const bool classes = labels.role == data::FieldRole::kLabel && n.kind == pass::Loss::kCrossEntropy;
    Tensor made(DType::kF32, {static_cast<int64_t>(scores.size())});
    std::span<const float> probabilities = scores;
    const int64_t width = classes ? p.graph().value(n.output).type.shape.back() : out.size() / samples;
    if (classes) {
      kernels_.softmax({DType::kF32, scores.data(), made.data(), made.size() / width, width, false});
      probabilities = made.as<float>();
    } else if (logistic) {
      kern::UnaryArgs args{};
      args.op = kern::Unary::kSigmoid;
      args.dtype = DType::kF32;
      args.x = scores.data();
      args.y = made.data();
      args.n = made.size();
      kernels_.unary(args);
      probabilities = made.as<float>();
    }
    if (labels.role == data::FieldRole::kLabel) {
      const bool of_two = !classes;
      if (of_two && width != 1) continue;
      const auto numbers =
          labels.data.as<int32_t>().first(static_cast<size_t>(labels.data.size() / batch_rows * rows));
      std::span<const float> weights;
      if (n.weights != ir::kNone) weights = part(weights_of(labels, batch), batch_rows);
      metrics_[i].add_classes(scores, probabilities, numbers, weights, of_two ? 2 : width, of_two,
                              labels.data.shape().size() > 1);
      continue;
    }
    if (n.kind == pass::Loss::kCrossEntropy) continue;  // probabilities of classes are no classes
    const std::span<const float> targets = part(labels.data, batch_rows);
    if (n.kind == pass::Loss::kMse) {
      metrics_[i].add_numbers(scores, targets, width);
    } else {
      metrics_[i].add_labels(probabilities, targets, width);
    }
  }
}

void Network::measure_texts(const Compiled& compiled, const pass::LossNode& n, const data::Batch& batch,
                            int64_t rows, EvaluationMetrics& metrics) {
  const Tensor embeddings = converted(copy_of(*compiled.program, n.output), DType::kF32);
  const Shape& shape = embeddings.shape();  // samples, texts, width
  std::span<const float> scores;
  if (n.label != ir::kNone) scores = labels_of(n, batch).data.as<float>().first(static_cast<size_t>(rows));
  metrics.add_texts(embeddings.as<float>().first(static_cast<size_t>(rows * shape[1] * shape[2])), shape[1],
                    shape[2], scores, n.kind == pass::Loss::kTriplet);
}

namespace {

// Row `from` of a tensor [rows, ...] copied to the rows from `first` on.
void fill_rows(Tensor& t, int64_t first, int64_t from) {
  if (t.empty()) return;
  const int64_t width = t.bytes() / t.shape().at(0);
  auto* rows = static_cast<std::byte*>(t.data());
  for (int64_t row = first; row < t.shape()[0]; ++row)
    std::memcpy(rows + row * width, rows + from * width, static_cast<size_t>(width));
}

}  // namespace

// Fills the batch up with its first sample, and takes that sample's share out of the score again: samples do
// not influence each other in evaluation.
Score Network::evaluate_filled(data::Batch& batch, std::optional<exec::NonFinite>& noticed) {
  const int64_t count = batch.count;
  Compiled& c = evaluation({batch.size_class, options_.batch});
  for (const pass::LossNode& l : c.network.losses)
    if (l.kind == pass::Loss::kInBatchNegatives)
      throw input_error(
          "the network works with batches of {} alone, and the last {} samples of an evaluation fill none; "
          "what would fill "
          "it up would be negatives of --loss in-batch-negatives. Evaluate a multiple of {} samples "
          "(PATH[:N])",
          options_.batch, count, options_.batch);
  for (const pass::LossNode& l : c.network.losses)
    if (l.kind == pass::Loss::kGraph &&
        elements(c.program->graph().value(l.loss).type.shape) != options_.batch)
      throw input_error(
          "the network works with batches of {} alone, and the last {} samples of an evaluation fill none; a "
          "loss graph that gives one "
          "number cannot leave out what would fill it up. Evaluate a multiple of {} samples (PATH[:N]), or "
          "let it give one number a "
          "sample",
          options_.batch, count, options_.batch);
  bool measured = false;
  const auto score_of_rows = [&](int64_t first) {
    for (data::BatchField& field : batch.fields) fill_rows(field.data, first, 0);
    c.program->attach();
    feed(c, batch, options_.batch);
    c.program->run(ir::Phase::kCompute, state_);
    if (!measured) measure(c, batch, count);
    measured = true;
    return score(c, batch, options_.batch, true);
  };
  Score all = score_of_rows(count);
  if (!c.program->noticed().empty()) noticed = c.program->noticed().front();
  const Score first = score_of_rows(1);  // of options_.batch copies of it
  const int64_t added = options_.batch - count;
  const double share = static_cast<double>(added) / static_cast<double>(options_.batch);
  all.loss_sum -= share * first.loss_sum;
  if (all.correct) *all.correct -= *first.correct / options_.batch * added;
  all.targets -= first.targets / options_.batch * added;
  all.samples = count;
  for (size_t i = 0; i < all.parts.size(); ++i) {
    PartScore& part = all.parts[i];
    const PartScore& of_first = first.parts[i];
    part.loss_sum -= share * of_first.loss_sum;
    part.weight -= share * of_first.weight;
    part.targets -= of_first.targets / options_.batch * added;
    if (part.correct) *part.correct -= *of_first.correct / options_.batch * added;
  }
  if (!all.parts.empty()) all.loss_sum = all.loss() * static_cast<double>(count);
  all.losses.resize(static_cast<size_t>(count));
  if (!all.hits.empty()) all.hits.resize(static_cast<size_t>(count));
  return all;
}

void Network::run_statistics(const data::Batch& batch, uint64_t seed, uint64_t micro_step) {
  const Statistics& of = statistics_.at(batch.size_class);
  HT_ASSERT(of.program != nullptr);
  measured_ = &of;
  of.program->attach();
  feed_inputs(*of.program, kernels_, of.network.inputs, options_.feeding, batch, options_.batch);
  ops::StepState state;
  state.seed = seed;
  state.micro_step = micro_step;
  of.program->run(ir::Phase::kCompute, state);
}

void Network::read_statistics(size_t norm, std::vector<double>& mean, std::vector<double>& variance) const {
  HT_ASSERT(measured_ != nullptr);
  const pass::StatisticsOfNorm& n = measured_->network.norms.at(norm);
  const auto read = [&](ir::ValueId id, std::vector<double>& to) {
    const ir::Type& type = measured_->program->graph().value(id).type;
    Tensor raw(type.dtype, type.shape);
    std::memcpy(raw.data(), measured_->program->data(id), static_cast<size_t>(raw.bytes()));
    to.resize(static_cast<size_t>(raw.size()));
    for (size_t c = 0; c < to.size(); ++c) to[c] = register_value(raw, c);
  };
  read(n.batch_mean, mean);
  read(n.batch_variance, variance);
}

std::vector<pass::NarrowLoss> Network::prepare_outputs() {
  outputs_as_evaluated_ = true;
  std::vector<pass::NarrowLoss> losses;
  plain_of(main_size(), &losses);
  release_unneeded_pages();
  return losses;
}

Network::Plain& Network::plain_of(const BatchSize& size, std::vector<pass::NarrowLoss>* losses) {
  const DType storage = options_.training.storage;
  const auto known = plain_.find(size);
  if (known != plain_.end()) {
    known->second.used = ++uses_;
    return known->second;
  }
  ir::Graph graph = importer_(size.count, ops::Mode::kEval, size.size_class);
  Plain plain;
  plain.inputs = graph.inputs;
  for (const ir::ValueId id : graph.outputs) plain.names.push_back(graph.value(id).name);
  pass::arrange(graph, storage);
  if (outputs_as_evaluated_) {
    pass::fuse(graph);
    pass::block_attention(graph, storage);
  }
  pass::absorb_input_transposes(graph);
  ops::remove_dead_nodes(graph);
  plain.outputs = graph.outputs;
  std::vector<pass::NarrowLoss> narrowed = load(graph, false);
  if (losses != nullptr) *losses = std::move(narrowed);
  const std::vector<ir::ValueId> lent = lent_inputs(graph, plain.inputs, false);
  plain.program = std::make_unique<exec::Program>(std::move(graph), kernels_, options_.multiply, pool_,
                                                  store_, arena_, lent);
  if (is_16bit(storage))
    plain.program->watch(pass::watch(plain.program->graph(), plain.outputs, options_.multiply));
  make_room(plain_, kMostSizes);
  plain.used = ++uses_;
  return plain_.emplace(size, std::move(plain)).first->second;
}

std::map<std::string, Tensor> Network::outputs(const data::Batch& batch,
                                               std::optional<exec::NonFinite>* noticed) {
  const Interruptible anywhere;
  Plain& plain = plain_of({batch.size_class, batch.count});
  plain.program->attach();
  feed_inputs(*plain.program, kernels_, plain.inputs, options_.feeding, batch, batch.count);
  plain.program->run(ir::Phase::kCompute, state_);
  if (noticed != nullptr && !plain.program->noticed().empty()) *noticed = plain.program->noticed().front();
  std::map<std::string, Tensor> outputs;
  for (size_t i = 0; i < plain.outputs.size(); ++i) {
    Tensor y = copy_of(*plain.program, plain.outputs[i]);
    outputs.emplace(plain.names[i], is_16bit(y.dtype()) ? converted(y, DType::kF32) : std::move(y));
  }
  return outputs;
}

std::map<std::string, Tensor> Network::outputs_filled(data::Batch& batch,
                                                      std::optional<exec::NonFinite>* noticed) {
  const int64_t count = batch.count;
  if (!options_.fixed_batch || count == options_.batch) return outputs(batch, noticed);
  for (data::BatchField& field : batch.fields) fill_rows(field.data, count, 0);
  batch.count = options_.batch;
  std::map<std::string, Tensor> all = outputs(batch, noticed);
  batch.count = count;
  for (auto& [name, tensor] : all) {
    Shape shape = tensor.shape();
    const int64_t rows = elements(shape);
    HT_ASSERT(rows % options_.batch == 0, "{} of shape {}", name, halftone::to_string(shape));
    // Axes of one element may stand before the batch's.
    *std::find(shape.begin(), shape.end(), options_.batch) = count;
    Tensor first(tensor.dtype(), shape);
    std::memcpy(first.data(), tensor.data(), static_cast<size_t>(first.bytes()));
    tensor = std::move(first);
  }
  return all;
}

Network::Gradients Network::gradients(const data::Batch& batch, uint64_t seed, double loss_scale) {
  const Interruptible anywhere;
  auto known = gradients_.find(batch.size_class);
  if (known == gradients_.end()) {
    Compiled compiled;
    pass::TrainingOptions training = sized(options_.training, batch.size_class);
    training.accumulate = false;
    compiled.network =
        pass::gradient_graph(importer_(options_.batch, ops::Mode::kTrain, batch.size_class), training);
    load(compiled.network.graph, true);
    compile(compiled);
    known = gradients_.emplace(batch.size_class, std::move(compiled)).first;
  }
  Compiled& c = known->second;
  c.program->attach();
  feed(c, batch, options_.batch);
  ops::StepState state;
  state.seed = seed;
  state.loss_scale = static_cast<float>(loss_scale);
  c.program->run(ir::Phase::kCompute, state);
  restore_derived();  // what a step that is not taken would have made of running statistics
  Gradients result{score(c, batch, options_.batch, false), {}};
  for (size_t i = 0; i < c.network.trained.size(); ++i) {
    const std::string& name = c.network.trained[i];
    Tensor gradient = pass::widen(copy_of(*c.program, c.network.gradients[i]), storage_axes_.at(name));
    // A power of two: divided out exactly.
    bool finite = true;
    if (gradient.dtype() == DType::kF64)
      for (double& x : gradient.as<double>()) finite = std::isfinite(x /= loss_scale) && finite;
    else
      for (float& x : gradient.as<float>())
        finite = std::isfinite(x /= static_cast<float>(loss_scale)) && finite;
    if (!finite)
      throw numerical_error("the gradient of {} is not finite in {} with loss scale {}", name,
                            name_of(options_.training.storage), loss_scale);
    result.by_name.emplace(name, std::move(gradient));
  }
  return result;
}

void Network::set_file_tensor(const std::string& name, const Tensor& values) {
  const auto axes = storage_axes_.find(name);
  Tensor* stored = store_.find(name);
  HT_ASSERT(axes != storage_axes_.end() && stored != nullptr, "{}", name);
  Tensor fresh = converted(values, stored->dtype());
  if (!axes->second.empty() && values.shape().size() == axes->second.size())
    fresh = transposed(fresh, axes->second);
  if (fresh.shape() != stored->shape())
    throw input_error("tensor {}: values of shape {} do not fit; expected {}", name,
                      halftone::to_string(values.shape()), halftone::to_string(file_tensor(name).shape()));
  if (kern::any_non_finite(values.dtype(), values.data(), values.size()))
    throw input_error("tensor {}: the new values are not all finite numbers", name);
  if (kern::any_non_finite(fresh.dtype(), fresh.data(), fresh.size()))
    throw input_error("tensor {}: some of the new values are beyond the range of {}", name,
                      name_of(fresh.dtype()));
  std::memcpy(stored->data(), fresh.data(), static_cast<size_t>(fresh.bytes()));
  // What rounding left over belongs to the old values.
  if (Tensor* carry = store_.find(pass::carry_name(name)))
    std::memset(carry->data(), 0, static_cast<size_t>(carry->bytes()));
  if (Tensor* average = store_.find(pass::average_name(name)))
    std::memcpy(average->data(), fresh.data(), static_cast<size_t>(fresh.bytes()));
  restore_derived();
}

void Network::finish() {
  planned_bytes_ = planned_bytes();
  training_.reset();
  more_training_.clear();
  current_ = nullptr;
  statistics_.clear();
  measured_ = nullptr;
  evaluation_.clear();
  plain_.clear();
  gradients_.clear();
  arena_.release();
  std::erase_if(store_.all(), [&](const auto& entry) { return storage_axes_.count(entry.first) == 0; });
}

std::vector<std::string> Network::file_tensor_names() const {
  std::vector<std::string> names;
  for (const auto& [name, axes] : storage_axes_) names.push_back(name);
  return names;
}

Tensor Network::file_tensor(const std::string& name) const {
  const auto axes = storage_axes_.find(name);
  const Tensor* stored = store_.find(name);
  HT_ASSERT(axes != storage_axes_.end() && stored != nullptr, "{}", name);
  return pass::widen(*stored, axes->second);
}

}  // namespace halftone::train
