#include "train/precision_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "kern/significands.h"
#include "pass/difference.h"

namespace halftone::train {
namespace {

using ir::kNone;
using ir::ValueId;

constexpr int64_t kMostSamples = 64;
constexpr double kSeconds = 0.25;
constexpr int64_t kMostBytes = int64_t{4} << 20;  // of samples, after which no further batch is taken

// How far the loss may be off against the emulated rounding of stored values (docs/numerics.md section 6):
// other roundings of the same size, and the integers of block, whose shared scale costs values that are small
// in their block up to 25 times fp16's rounding and 4 times bf16's.
double granted(const PrecisionCheckOptions& o) {
  if (o.multiply == kern::Multiply::kWide) return 4;
  return o.storage == DType::kF16 ? 32 : 8;
}
// What an output may be off whatever the emulation gives: a sixteenth of its size is more than 16 bits cost a
// sound network.
constexpr double kSoundOutputs = 1.0 / 16;
constexpr double kBrokenOutputs = 0.5;

double unit_roundoff(DType storage) {
  return std::ldexp(1.0, -pass::significant_bits(storage));
}

double mean(const std::vector<double>& losses) {
  double sum = 0;
  for (const double x : losses) sum += x;
  // The sign of a NaN says nothing, and would be printed.
  if (std::isnan(sum)) return std::numeric_limits<double>::quiet_NaN();
  return sum / static_cast<double>(losses.size());
}

// What one loss of a network gave.
struct SeenLoss {
  std::vector<double> batch_losses;   // means
  std::vector<double> sample_losses;  // of each label; cross-entropy only
  std::vector<Tensor> outputs;        // as stored
  double loss() const { return mean(batch_losses); }
};

// What a network makes of some batches.
struct Seen {
  std::vector<double> batch_losses;  // of the sum of all losses
  std::vector<SeenLoss> parts;       // one a loss
  double loss() const { return mean(batch_losses); }
};

class Check {
 public:
  Check(const Importer& wide, const Importer& narrow, const PrecisionCheckOptions& options,
        const exec::Store* weights = nullptr)
      : wide_(wide), narrow_(narrow), weights_(weights), o_(options) {
    HT_ASSERT(is_16bit(o_.storage), "{}", name_of(o_.storage));
  }

  PrecisionCheck run(data::Loader& loader) {
    data_ = &loader.dataset();
    const Seen wide = look_wide(&loader);
    const Seen narrow = look_narrow();
    return judge(wide, narrow);
  }

  PrecisionCheck run(std::vector<data::Batch> batches) {
    batches_ = std::move(batches);
    const size_t worst = worst_batch(look_narrow(), look_wide(nullptr));
    std::swap(batches_[0], batches_[worst]);
    batches_.resize(1);
    infinity_ = false;
    const Seen wide = look_wide(nullptr);
    const Seen narrow = look_narrow();
    return judge(wide, narrow);
  }

 private:
  PrecisionCheck judge(const Seen& wide, const Seen& narrow) {
    result_.samples = static_cast<int64_t>(batches_.size()) * o_.batch;
    result_.loss_fp32 = wide.loss();
    result_.loss = narrow.loss();
    const double gap = gap_of(narrow, wide);
    const double outputs = relative(narrow, wide);
    const double least = rounding_of_outputs(wide);
    result_.explained = least;
    const bool finite = std::isfinite(gap) && std::isfinite(outputs);
    if (finite && gap <= least && outputs <= kSoundOutputs && !infinity_) return result_;
    if (!std::isfinite(result_.loss_fp32)) {
      result_.fits = false;
      result_.finding = fmt::format("the loss of {} samples is not finite in fp32 either: {}",
                                    result_.samples, fault_of_wide(wide));
      return result_;
    }
    bool broken = !finite;
    bool unexplained = !finite;
    if (finite) {
      const Seen rounded = look_rounded();
      const double noise = relative(rounded, wide);
      result_.explained = least + granted(o_) * explained_gap(rounded, wide);
      unexplained = gap > result_.explained || outputs > std::max(kSoundOutputs, granted(o_) * noise);
      broken = outputs > kBrokenOutputs && gap > std::max(least, 0.1 * std::abs(result_.loss_fp32));
    }
    result_.fits = !unexplained && !broken;
    if (result_.fits && gap > least + 0.1 * std::abs(result_.loss_fp32))
      result_.finding =
          fmt::format("rounding to {} changes the loss of {} samples from {:.6g} (fp32) to {:.6g}{}",
                      name_of(o_.storage), result_.samples, result_.loss_fp32, result_.loss,
                      o_.storage == DType::kBf16 ? "; --precision fp16 has three bits more" : "");
    if (result_.fits && !infinity_) return result_;
    const std::optional<Cause> cause = find_cause(worst_batch(narrow, wide));
    // Masks are infinite in fp32 too, and no overflow.
    const bool overflow = cause && cause->kind == Cause::Kind::kOverflow;
    result_.overflows = !result_.fits && overflow;
    if (!result_.fits || overflow) result_.finding = describe_finding(cause);
    return result_;
  }

  struct Cause {
    enum class Kind { kOverflow, kFlush, kRounding } kind;
    std::string where;
    pass::Difference difference;
    bool of_samples = false;
  };

  CompileOptions compile_options(DType storage) const {
    CompileOptions c;
    c.training.storage = storage;
    c.training.loss = o_.loss;
    c.feeding = o_.feeding;
    c.multiply = storage == o_.storage ? o_.multiply : kern::Multiply::kWide;
    c.batch = o_.batch;
    c.size_class = o_.size_class;
    c.threads = o_.threads;
    return c;
  }

  std::unique_ptr<Network> network(DType storage) {
    auto n = std::make_unique<Network>(storage == o_.storage ? narrow_ : wide_, compile_options(storage));
    n->prepare_forward(o_.mode);
    n->state().seed = o_.seed;
    n->state().micro_step = o_.micro_step;
    n->state().loss_scale = 1;
    if (weights_ != nullptr) take_weights(*n);
    result_.planned_bytes = std::max(result_.planned_bytes, n->planned_bytes());
    return n;
  }

  void take_weights(Network& n) const {
    for (auto& [name, tensor] : n.store().all()) {
      const Tensor* from = weights_->find(name);
      HT_ASSERT(from != nullptr && from->shape() == tensor.shape(), "{}", name);
      const Tensor present = converted(*from, tensor.dtype());
      std::memcpy(tensor.data(), present.data(),
                  static_cast<size_t>(tensor.bytes()));  // programs know where it lies
    }
  }

  // Runs the forward pass node by node; after(value) behind each for what it wrote.
  template <class After>
  static void run_nodes(exec::Program& program, ops::StepState& state, const After& after) {
    const auto& nodes = program.graph().nodes;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].phase != ir::Phase::kCompute) continue;
      program.run_node(static_cast<int64_t>(i), state);
      for (size_t k = 0; k < nodes[i].outputs.size(); ++k)
        if (program.computes(static_cast<int64_t>(i), k)) after(nodes[i].outputs[k]);
    }
  }

  void read(Network& network, const Score& score, Seen& seen) const {
    const pass::NetworkGraph& n = network.training();
    const exec::Program& p = network.program();
    const auto copy = [&](ValueId id) {
      const ir::Type& type = p.graph().value(id).type;
      Tensor t(type.dtype, type.shape);
      std::memcpy(t.data(), p.data(id), static_cast<size_t>(t.bytes()));
      return t;
    };
    seen.batch_losses.push_back(score.loss());
    seen.parts.resize(n.losses.size());
    for (size_t i = 0; i < n.losses.size(); ++i) {
      SeenLoss& part = seen.parts[i];
      part.batch_losses.push_back(score.parts.empty() ? score.loss() : score.parts[i].loss());
      const std::vector<double> losses = network.label_losses(i);
      part.sample_losses.insert(part.sample_losses.end(), losses.begin(), losses.end());
      part.outputs.push_back(copy(n.losses[i].output));
    }
  }

  // Takes its batches from the loader, where there is one.
  Seen look_wide(data::Loader* loader) {
    const auto wide = network(DType::kF32);
    losses_ = wide->losses();
    Seen seen;
    if (loader == nullptr) {
      for (const data::Batch& batch : batches_) read(*wide, wide->compute(batch), seen);
      return seen;
    }
    loader->start(0);
    const double start = now_seconds();
    int64_t bytes = 0;
    do {
      data::Batch batch;
      if (!loader->next(batch) || batch.count < o_.batch) break;
      read(*wide, wide->compute(batch), seen);
      bytes += batch.fields.at(0).data.bytes();
      for (const SeenLoss& part : seen.parts) bytes += part.outputs.back().bytes();
      batches_.push_back(std::move(batch));
    } while ((static_cast<int64_t>(batches_.size()) + 1) * o_.batch <= kMostSamples && bytes < kMostBytes &&
             now_seconds() - start < kSeconds);
    HT_ASSERT(!batches_.empty(), "a loader without a full batch of {}", o_.batch);
    return seen;
  }

  Seen look_narrow() {
    const auto narrow = network(o_.storage);
    for (const ir::Value& value : narrow->program().graph().values)
      if (is_16bit(value.type.dtype)) stored_.insert(value.name);
    Seen seen;
    for (const data::Batch& batch : batches_) {
      exec::Program& program = narrow->forward(batch);
      run_nodes(program, narrow->state(),
                [&](ValueId id) { infinity_ = infinity_ || !program.all_finite(id); });
      read(*narrow, narrow->score_of(batch), seen);
    }
    return seen;
  }

  // In fp32, with every value that `narrow` stores in 16 bits rounded to as many bits, within fp32's range.
  Seen look_rounded() {
    const auto wide = network(DType::kF32);
    const int bits = pass::significant_bits(o_.storage);
    const ir::Graph& graph = wide->program().graph();
    round_weights(*wide, bits);
    wide->state().significant_bits = bits;
    Seen seen;
    for (const data::Batch& batch : batches_) {
      exec::Program& program = wide->forward(batch);
      const auto round = [&](ValueId id) {
        const ir::Type& type = graph.value(id).type;
        if (program.data(id) != nullptr && type.dtype == DType::kF32 &&
            stored_.count(graph.value(id).name) > 0)
          kern::round_significands(static_cast<float*>(program.data(id)), elements(type.shape), bits);
      };
      for (const ValueId id : wide->training().inputs) round(id);
      run_nodes(program, wide->state(), round);
      read(*wide, wide->score_of(batch), seen);
    }
    return seen;
  }

  void round_weights(Network& wide, int bits) const {
    for (const ir::Value& value : wide.program().graph().values) {
      if (value.kind != ir::ValueKind::kParameter || value.type.dtype != DType::kF32) continue;
      Tensor* tensor = wide.store().find(value.name);
      HT_ASSERT(tensor != nullptr, "{}", value.name);
      kern::round_significands(tensor->as<float>().data(), tensor->size(), bits);
    }
  }

  // What a loss counts in the sum of all, times what `f` gives for it.
  template <class F>
  double sum_over_losses(const F& f) const {
    double sum = 0;
    for (size_t i = 0; i < losses_.size(); ++i) sum += losses_[i].weight * f(i);
    return sum;
  }

  double gap_of(const Seen& a, const Seen& b) const {
    return sum_over_losses([&](size_t i) { return gap_of(a.parts[i], b.parts[i]); });
  }

  static double gap_of(const SeenLoss& a, const SeenLoss& b) {
    double sum = 0;
    if (a.sample_losses.empty()) {
      for (size_t i = 0; i < a.batch_losses.size(); ++i)
        sum += std::abs(a.batch_losses[i] - b.batch_losses[i]);
      return sum / static_cast<double>(a.batch_losses.size());
    }
    for (size_t i = 0; i < a.sample_losses.size(); ++i)
      sum += std::abs(a.sample_losses[i] - b.sample_losses[i]);
    return sum / static_cast<double>(a.sample_losses.size());
  }

  // Of the outputs that differ most.
  static double relative(const Seen& a, const Seen& b) {
    double most = 0;
    for (size_t i = 0; i < a.parts.size(); ++i) {
      const double of_part = relative(a.parts[i].outputs, b.parts[i].outputs);
      most = std::isnan(of_part) || of_part > most ? of_part : most;
      if (std::isnan(most)) break;
    }
    return most;
  }

  static double relative(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
    pass::Difference sum;
    for (size_t i = 0; i < a.size(); ++i)
      sum.add(pass::difference(a[i].dtype(), a[i].data(), b[i].dtype(), b[i].data(), b[i].size()));
    return sum.overflowed > 0 ? INFINITY : sum.relative();
  }

  // Root mean square of what `a` differs from `b`, of `b` itself where there is no `a`.
  static double root_mean_square(const std::vector<Tensor>& b, const std::vector<Tensor>* a = nullptr) {
    pass::Difference sum;
    for (size_t i = 0; i < b.size(); ++i) {
      const Tensor& other = a != nullptr ? (*a)[i] : b[i];
      sum.add(pass::difference(other.dtype(), other.data(), b[i].dtype(), b[i].data(), b[i].size()));
    }
    return std::sqrt((a != nullptr ? sum.error : sum.squares) /
                     static_cast<double>(std::max<int64_t>(1, sum.elements)));
  }

  // The most that a loss changes when outputs change by `error` (root mean square): of (x - t)^2 by Cauchy
  // and Schwarz; the slope of binary cross-entropy in its logit is at most 1.
  static double change_of_loss(double error, const pass::LossNode& node, const SeenLoss& wide) {
    const pass::Loss loss = node.kind;
    if (pass::compares_texts(loss)) return change_of_texts(error, node, wide);
    if (loss == pass::Loss::kMse) return 2 * std::sqrt(std::max(0.0, wide.loss())) * error + error * error;
    return error;
  }

  // Two texts whose embeddings change by a share of their lengths: their cosine by twice that, their distance by twice
  // that of the length. The loss of in-batch negatives changes by at most twice what its scores do.
  static double change_of_texts(double error, const pass::LossNode& node, const SeenLoss& wide) {
    const double size = root_mean_square(wide.outputs);
    const double share = size > 0 ? error / size : 0;
    if (node.kind == pass::Loss::kInBatchNegatives) return 4 * node.similarity_scale * share;
    if (node.kind == pass::Loss::kCosine)
      return 4 * share * std::sqrt(std::max(0.0, wide.loss())) + 4 * share * share;
    return 4 * error * std::sqrt(static_cast<double>(wide.outputs.at(0).shape().back()));
  }

  double rounding_of_outputs(const Seen& wide) const {
    return sum_over_losses([&](size_t i) { return rounding_of_outputs(losses_[i], wide.parts[i]); });
  }

  // What storing the outputs alone may change: two logits of a sample, each by its unit roundoff.
  double rounding_of_outputs(const pass::LossNode& loss, const SeenLoss& wide) const {
    const double u = unit_roundoff(o_.storage);
    if (loss.kind != pass::Loss::kCrossEntropy)
      return change_of_loss(u * root_mean_square(wide.outputs), loss, wide);
    double sum = 0;
    for (const Tensor& t : wide.outputs) {
      const int64_t row = t.size() / t.shape()[0];
      for (int64_t i = 0; i < t.shape()[0]; ++i) {
        const float* x = t.as<float>().data() + i * row;
        sum += pass::difference(DType::kF32, x, DType::kF32, x, row).largest;
      }
    }
    return 2 * u * sum / static_cast<double>(wide.sample_losses.size());
  }

  double explained_gap(const Seen& rounded, const Seen& wide) const {
    return sum_over_losses([&](size_t i) {
      const SeenLoss& of = wide.parts[i];
      const double direct = gap_of(rounded.parts[i], of);
      if (losses_[i].kind == pass::Loss::kCrossEntropy) return direct;
      return std::max(
          direct, change_of_loss(root_mean_square(of.outputs, &rounded.parts[i].outputs), losses_[i], of));
    });
  }

  // Where fp32 stops being finite, and what helps.
  std::string fault_of_wide(const Seen& seen) {
    const auto bad = std::find_if(seen.batch_losses.begin(), seen.batch_losses.end(),
                                  [](double x) { return !std::isfinite(x); });
    const data::Batch& batch = batches_[static_cast<size_t>(bad - seen.batch_losses.begin())];
    const auto wide = network(DType::kF32);
    const std::optional<Fault> fault = wide->find_non_finite(batch);
    return fmt::format("the first non-finite tensor is {}\n  {}",
                       fault && data_ != nullptr ? describe(*fault, batch, *data_)
                       : fault                   ? describe(fault->first)
                                                 : "the sum of the losses",
                       remedy(fault ? fault->stage : Stage::kLoss, {DType::kF32}));
  }

  static size_t worst_batch(const Seen& a, const Seen& b) {
    size_t worst = 0;
    double most = -1;
    for (size_t i = 0; i < a.batch_losses.size(); ++i) {
      const double gap = std::abs(a.batch_losses[i] - b.batch_losses[i]);
      if (!std::isfinite(gap)) return i;
      if (gap > most) most = gap, worst = i;
    }
    return worst;
  }

  // Both networks side by side over one batch: the first tensor that overflowed or was flushed, or else the
  // first that rounding changes far more than what it was made of.
  std::optional<Cause> find_cause(size_t batch) {
    const auto wide = network(DType::kF32);
    const auto narrow = network(o_.storage);
    exec::Program& a = narrow->forward(batches_[batch]);
    exec::Program& b = wide->forward(batches_[batch]);
    const ir::Graph& graph = a.graph();
    const auto same = [](const ir::Node& x, const ir::Node& y) {
      return x.op == y.op && x.outputs == y.outputs;
    };
    if (!std::equal(graph.nodes.begin(), graph.nodes.end(), b.graph().nodes.begin(), b.graph().nodes.end(),
                    same))
      return std::nullopt;
    std::vector<double> error(graph.values.size()), largest(graph.values.size());
    std::optional<Cause> rounded;
    // Whether the value is a cause; sets `rounded` when it may be one for want of a better.
    const auto compare = [&](ValueId id, double input_error,
                             double input_largest) -> std::optional<Cause::Kind> {
      const ir::Type& type = graph.value(id).type;
      const void* x = a.data(id);
      const void* y = b.data(id);
      if (!is_float(type.dtype) || x == nullptr || y == nullptr) return std::nullopt;
      difference_ = pass::difference(type.dtype, x, b.graph().value(id).type.dtype, y, elements(type.shape));
      error[static_cast<size_t>(id)] = difference_.relative();
      largest[static_cast<size_t>(id)] = difference_.largest;
      largest_ = std::max(largest_, difference_.largest);
      if (difference_.overflowed > 0) return Cause::Kind::kOverflow;
      // Not what is left where large numbers cancel out.
      constexpr double kNoise = 0x1p-20;
      if (difference_.relative() > 0.1 && difference_.small_error > 0.5 * difference_.error &&
          difference_.largest > kNoise * input_largest)
        return Cause::Kind::kFlush;
      if (difference_.relative() > 0.1 && difference_.relative() > 4 * input_error)
        return Cause::Kind::kRounding;
      return std::nullopt;
    };
    // The first weight, constant or sample that is flushed. A tensor with numbers beyond the range in fp32 is
    // named before it: no flushed number explains that.
    std::optional<Cause> flushed;
    const double range = o_.storage == DType::kF16 ? 65504 : 0x1.FEp127;
    for (size_t v = 0; v < graph.values.size(); ++v) {
      const ir::Value& value = graph.values[v];
      const std::vector<ValueId>& inputs = narrow->training().inputs;
      const bool is_sample = std::find(inputs.begin(), inputs.end(), static_cast<ValueId>(v)) != inputs.end();
      if (value.kind != ir::ValueKind::kParameter && value.kind != ir::ValueKind::kConstant && !is_sample)
        continue;
      const auto kind = compare(static_cast<ValueId>(v), 0, 0);
      if (!kind || *kind == Cause::Kind::kRounding) continue;
      const char* what = is_sample                                 ? "the input"
                         : value.kind == ir::ValueKind::kParameter ? "the weight"
                                                                   : "the constant";
      const Cause cause{*kind, fmt::format("{} {}", what, value.name), difference_, is_sample};
      if (*kind == Cause::Kind::kOverflow) return cause;
      if (!flushed) flushed = cause;
    }
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      const ir::Node& node = graph.nodes[i];
      if (node.phase != ir::Phase::kCompute) continue;
      a.run_node(static_cast<int64_t>(i), narrow->state());
      b.run_node(static_cast<int64_t>(i), wide->state());
      double input_error = 0;
      double input_largest = 0;
      for (const ValueId id : node.inputs) {
        if (id == kNone) continue;
        input_error = std::max(input_error, error[static_cast<size_t>(id)]);
        input_largest = std::max(input_largest, largest[static_cast<size_t>(id)]);
      }
      for (size_t nth = 0; nth < node.outputs.size(); ++nth) {
        // Attention in blocks: its scores before what comes of them.
        const size_t k = node.op == "BlockAttention" ? node.outputs.size() - 1 - nth : nth;
        const ValueId id = node.outputs[k];
        if (!a.computes(static_cast<int64_t>(i), k) || !b.computes(static_cast<int64_t>(i), k)) continue;
        const auto kind = compare(id, input_error, input_largest);
        if (!kind) continue;
        const Cause cause{*kind,
                          fmt::format("tensor {} of node {} ({})", graph.value(id).name, node.name, node.op),
                          difference_, false};
        if (flushed ? *kind == Cause::Kind::kOverflow && difference_.largest > range
                    : *kind != Cause::Kind::kRounding)
          return cause;
        if (!rounded) rounded = cause;
      }
    }
    return flushed ? flushed : rounded;
  }

  std::string describe_finding(const std::optional<Cause>& cause) const {
    const std::string_view storage = name_of(o_.storage);
    std::string text;
    if (!result_.fits)
      text = fmt::format(
          "{} is not precise enough for this network: on {} samples its loss is {:.6g}, in fp32 {:.6g}; "
          "rounding explains a difference of "
          "{:.2g}\n  ",
          storage, result_.samples, result_.loss, result_.loss_fp32, result_.explained);
    std::string help = o_.storage == DType::kF16 ? "try --precision bf16, which has the range of fp32"
                                                 : "try --precision fp32";
    // Half of fp16's range, for what was not compared any more.
    const std::string finer = o_.storage == DType::kBf16 && largest_ < 32768
                                  ? "try --precision fp16, which has three bits more, or fp32"
                                  : "try --precision fp32";
    if (!cause) {
      text += "no single tensor overflows or is flushed; rounding errors add up";
      help = finer;
    } else {
      const pass::Difference& d = cause->difference;
      switch (cause->kind) {
        case Cause::Kind::kOverflow:
          text += fmt::format(
              "the first tensor that overflows is {}: {} of its {} values; the largest is {:.4g} in fp32",
              cause->where, d.overflowed, d.elements, d.largest);
          if (o_.storage == DType::kF16) text += ", fp16 ends at 65504";
          break;
        case Cause::Kind::kFlush:
          text += fmt::format(
              "the first tensor that is flushed is {}: {} of its {} values become 0, the largest is {:.4g} "
              "in fp32",
              cause->where, d.flushed, d.elements, d.largest);
          if (o_.storage == DType::kF16) text += ", fp16's normal numbers begin at 6.1e-05";
          break;
        case Cause::Kind::kRounding:
          text += fmt::format(
              "the first tensor with large rounding errors is {}: the error is {:.0f} % of its size",
              cause->where, 100 * d.relative());
          help = finer;
          break;
      }
      if (cause->of_samples) help = "scale the samples (--mean, --std), or " + help;
    }
    if (result_.fits) return text + "; the loss does not change, but gradients may be wrong there; " + help;
    return text + "\n  " + help;
  }

  const Importer& wide_;
  const Importer& narrow_;
  const exec::Store* weights_;  // null: the importers' own
  const data::Dataset* data_ = nullptr;
  const PrecisionCheckOptions& o_;
  PrecisionCheck result_;
  std::vector<pass::LossNode> losses_;
  std::vector<data::Batch> batches_;
  std::set<std::string> stored_;  // names of the values that the narrow network has in 16 bits
  bool infinity_ = false;         // in an activation of the narrow network
  pass::Difference difference_;   // of the last comparison
  double largest_ = 0;            // magnitude in fp32, of what was compared
};

// Rows [first, first + count) of a tensor, floats as fp32.
Tensor rows_of(const Tensor& t, int64_t first, int64_t count) {
  if (t.empty()) return {};
  Shape shape = t.shape();
  const int64_t width = t.bytes() / shape.at(0);
  shape[0] = count;
  Tensor rows(t.dtype(), shape);
  std::memcpy(rows.data(), static_cast<const std::byte*>(t.data()) + first * width,
              static_cast<size_t>(count * width));
  return is_float(t.dtype()) ? converted(rows, DType::kF32) : std::move(rows);
}

// Full parts, of which the last shares samples with the one before it where the batch is no multiple of their
// size. A batch below it was filled up.
std::vector<data::Batch> parts_of(const data::Batch& batch, int64_t size) {
  std::vector<data::Batch> parts;
  for (int64_t first = 0; first < batch.count; first += size) {
    const int64_t from = std::max<int64_t>(0, std::min(first, batch.count - size));
    data::Batch part;
    for (const data::BatchField& field : batch.fields)
      part.fields.push_back({field.name, field.role, rows_of(field.data, from, size), field.axes});
    part.count = size;
    part.size_class = batch.size_class;
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace

PrecisionCheck check_precision(const Importer& wide, const Importer& narrow, data::Loader& loader,
                               const PrecisionCheckOptions& options) {
  return Check(wide, narrow, options).run(loader);
}

PrecisionCheck check_batch(const Importer& wide, const Importer& narrow, const data::Batch& batch,
                           const exec::Store& weights, const PrecisionCheckOptions& options) {
  return Check(wide, narrow, options, &weights).run(parts_of(batch, options.batch));
}

}  // namespace halftone::train
