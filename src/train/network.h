// A network compiled for training and for evaluation: programs that share one store of parameters and one
// arena.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "data/loader.h"
#include "exec/multiply_rates.h"
#include "exec/program.h"
#include "pass/narrow.h"
#include "pass/statistics.h"
#include "pass/training.h"
#include "train/diagnosis.h"
#include "train/evaluation_metrics.h"
#include "train/feeding.h"

namespace halftone::train {

// The network as a graph with concrete shapes: what onnx::import gives for this batch size, mode and size
// class.
class Importer {
 public:
  using Sized = std::function<ir::Graph(int64_t batch, ops::Mode mode, size_t size_class)>;

  Importer() = default;
  // Of size classes, or of one: F takes (batch, mode) alone.
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Importer>)
      Importer(F import) {  // NOLINT(google-explicit-constructor)
    if constexpr (std::is_invocable_v<F, int64_t, ops::Mode, size_t>) {
      import_ = std::move(import);
    } else {
      import_ = [f = std::move(import)](int64_t batch, ops::Mode mode, size_t size_class) {
        HT_ASSERT(size_class == 0, "size class {}", size_class);
        return f(batch, mode);
      };
    }
  }
  ir::Graph operator()(int64_t batch, ops::Mode mode, size_t size_class = 0) const {
    return import_(batch, mode, size_class);
  }

 private:
  Sized import_;
};

// What a program is compiled for.
struct BatchSize {
  size_t size_class = 0;  // data::Batch::size_class
  int64_t count = 0;      // samples
  auto operator<=>(const BatchSize&) const = default;
};

// The samples in the batches that a network is fed with.
struct SamplesInBatches {
  std::string field;            // their name
  DType storage = DType::kF32;  // and type
  bool can_be_channels_last =
      false;  // data::can_be_channels_last; if so, they are where the network wants it
};

struct CompileOptions {
  pass::TrainingOptions training;  // storage precision, loss, optimizer
  Feeding feeding;                 // which field each of several inputs takes
  // Of evaluations, whose data may have other fields, and labels of another form; none: as in training.
  std::optional<Feeding> evaluation_feeding;
  std::optional<pass::LossOptions> evaluation_loss;
  // With it training and evaluation read the samples where the batches have them, instead of a copy, wherever
  // type and order of axes are the same. Of evaluations that are fed in their own way, evaluation_samples.
  std::optional<SamplesInBatches> samples;
  std::optional<SamplesInBatches> evaluation_samples;
  kern::Multiply multiply = kern::Multiply::kWide;
  int64_t batch = 1;
  size_t size_class = 0;  // of the main program, which has full batches
  // Training has batches of these sizes, too. They are compiled before the first step; others when they come.
  std::vector<BatchSize> more_batches = {};
  int threads = 1;
  bool fixed_batch = false;  // the graph works with `batch` samples alone: smaller batches are filled up
  // Called before memory is taken for a program, with the bytes that will be used; it may throw. Without it
  // these are compared with what the system allows.
  std::function<void(int64_t bytes)> before_allocation;
  bool only_plan =
      false;  // planned_bytes() is all that is wanted: activations get no memory, nothing can be run
  int64_t metrics_bytes = 0;        // of what evaluations measure (measure_more), part of the plan
  bool measures_statistics = true;  // memory for measuring batch norms' statistics is part of the plan
};

// One of several losses, or one whose targets have weights: sums over what counts.
struct PartScore {
  double loss_sum = 0;  // of the targets' losses, each times its weight
  double weight = 0;    // sum of the weights
  double share = 1;     // what the loss counts in the sum of all
  int64_t targets = 0;  // that count
  std::optional<int64_t> correct;
  double loss() const { return weight > 0 ? loss_sum / weight : 0; }
  std::optional<double> accuracy() const;
};

// Sums over the samples of a batch, or of a whole evaluation.
struct Score {
  double loss_sum = 0;  // of the samples' losses
  int64_t samples = 0;
  std::optional<int64_t> correct;  // none for losses without classes; of `targets`
  int64_t targets = 0;             // what can be correct: samples, or the labels that count
  // Of several losses (the loss is their weighted sum), or one with weights; else empty. `correct` is then
  // the first one's that has classes.
  std::vector<PartScore> parts;
  // Evaluations keep these of each sample, in order: its loss, and whether it was classified right (as
  // `correct`).
  std::vector<float> losses;
  std::vector<uint8_t> hits;
  double loss() const;
  std::optional<double> accuracy() const;
  void add(const Score& other);
};

// Where the first value that is not finite came from.
struct Fault {
  exec::NonFinite first;
  Stage stage;
  int64_t row =
      -1;  // of the batch, where one sample is to blame: its values, its targets or its loss; -1: not known
};
// "tensor h of node fc1 (Gemm)", "the input x (d.npz, x, sample 77)".
std::string describe(const Fault& fault, const data::Batch& batch, const data::Dataset& data);

class Network {
 public:
  Network(Importer importer, const CompileOptions& options);

  // Builds the training program, and puts the parameters and statistics of the file into the store, narrowed.
  // What was lost, by tensor (empty for fp32). Error when a finite weight overflows.
  std::vector<pass::NarrowLoss> prepare_training();
  // The same without a training program: for evaluation alone.
  std::vector<pass::NarrowLoss> prepare_evaluation();

  // The same without losses: for outputs() alone, which then computes as evaluations do (pass::fuse, attention in
  // blocks).
  std::vector<pass::NarrowLoss> prepare_outputs();

  // The same with the forward pass alone, as `mode` has it, for compute() and for looking at what its nodes
  // write (forward).
  std::vector<pass::NarrowLoss> prepare_forward(ops::Mode mode);
  // Feeds a full batch of the main size class to the training program and hands it out, attached.
  exec::Program& forward(const data::Batch& batch);
  // The score of the batch that was fed, once all nodes of the compute phase have run.
  Score score_of(const data::Batch& batch) const { return score(*training_, batch, options_.batch, false); }
  // Of that score, the value of each label's loss times its weight, such that their mean is the loss; loss
  // nodes without class labels have none.
  std::vector<double> label_losses(size_t loss) const;
  const exec::Program& program() const { return *training_->program; }

  // How fast the training program's larger products are in block and in half, by trying within `seconds`;
  // none when half isn't delivered here, or nothing could use it.
  std::optional<exec::MultiplyRates> measure_multiply(double seconds);
  // Compiles the training program anew. Before the first step.
  void use_multiply(kern::Multiply multiply);

  // Whether the loss of a micro-batch depends on all of its step (weighted targets), which begin_step() must
  // have seen.
  bool depends_on_step() const;
  void begin_step(const std::vector<data::Batch>& micro_batches);
  // Compiles what compute() needs for the batch's size, if nobody did. Error: the network cannot be trained
  // with that size; nothing changes.
  void prepare_for(const data::Batch& batch) { training_of(batch); }
  // Forward and backward of one batch, with state() as it stands.
  Score compute(const data::Batch& batch);
  // In 16 bits: values that had an infinity or a NaN in the last compute() although the loss and the
  // gradients need not show it (pass/watch.h); those from which nothing wrong follows only where
  // look_at_all() holds.
  const std::vector<exec::NonFinite>& noticed() const { return current_->program->noticed(); }
  // Whether what the guard of update() reads is finite.
  bool gradients_finite() const;
  void look_at_all(bool all);
  // Measures the training program's operators from now on, and what they took: seconds, the longest first.
  void measure_time();
  std::vector<std::pair<std::string, double>> time_by_operator() const;
  // Guard, optimizer, statistics.
  void update();
  // For a batch whose loss or gradients were not finite: where it began.
  std::optional<Fault> find_non_finite(const data::Batch& batch);
  // The name of a persistent tensor (parameter, statistic, optimizer state) with a value that is not finite;
  // none: all are.
  std::optional<std::string> non_finite_tensor() const;

  // Loss and accuracy over an epoch of the loader (whose batches must have the network's batch size). Error
  // (numerical) when a loss is not finite, naming where that begins. `more`, asked before each further batch
  // with the number of those done, can end it early. `noticed` is called for the batches in whose forward
  // pass 16 bits had an infinity or a NaN that the loss need not show: where, the batch, its number and how
  // many samples came before.
  using OnNoticed = std::function<void(const exec::NonFinite& first, const data::Batch& batch, int64_t number,
                                       int64_t samples_before)>;
  Score evaluate(data::Loader& loader, const std::function<void(int64_t done)>& progress = {},
                 const std::function<bool(int64_t batches)>& more = {}, const OnNoticed& noticed = {});
  // From now on evaluations measure more than loss and accuracy.
  void measure_more() { measures_more_ = true; }
  // Of each loss of the last evaluation, then; empty: nobody asked for it.
  const std::vector<EvaluationMetrics>& metrics() const { return metrics_; }
  // The score of each batch of the last evaluation.
  const std::vector<Score>& evaluated() const { return evaluated_; }
  // What the network itself gives for one batch, without a loss: its outputs by name, at least fp32. Labels
  // are not looked at. A batch of another size than options.batch works only where the graph does
  // (fixed_batch). noticed, unless null: the first value that had an infinity or a NaN in 16 bits.
  std::map<std::string, Tensor> outputs(const data::Batch& batch,
                                        std::optional<exec::NonFinite>* noticed = nullptr);
  // The same of any number of samples up to options.batch: where the graph works with full batches alone, the
  // batch is filled up with copies of its first sample, whose outputs are left out again.
  std::map<std::string, Tensor> outputs_filled(data::Batch& batch,
                                               std::optional<exec::NonFinite>* noticed = nullptr);
  // The gradients of the loss of one full batch, by the parameter's name in the file's order and at least
  // fp32, and its score; training's mode. Changes nothing. Error (numerical): one is not finite; it says for
  // which parameter. loss_scale: a power of two.
  struct Gradients {
    Score score;
    std::map<std::string, Tensor> by_name;
  };
  Gradients gradients(const data::Batch& batch, uint64_t seed, double loss_scale);

  // The batch norms whose running statistics training keeps, in the order of execution. Of a network that is
  // prepared for training.
  const std::vector<pass::StatisticsOfNorm>& norms() const {
    return statistics_.at(options_.size_class).network.norms;
  }
  // A forward pass in training's mode, as far as its last batch norm: changes no parameter and no state.
  // micro_step numbers dropout's random bits.
  void run_statistics(const data::Batch& batch, uint64_t seed, uint64_t micro_step);
  // That batch's mean and unbiased variance of norms()[norm], after run_statistics.
  void read_statistics(size_t norm, std::vector<double>& mean, std::vector<double>& variance) const;

  ops::StepState& state() { return state_; }
  const CompileOptions& options() const { return options_; }
  exec::Store& store() { return store_; }
  // What prepare_training made, but for the graph, which the program holds.
  const pass::NetworkGraph& training() const;
  // Whether the batches should have their samples channels last, where these can be; once there is a program.
  bool wants_channels_last() const { return channels_last_.value_or(false); }
  // What the losses are: kind, output, weight. Their values belong to no program.
  const std::vector<pass::LossNode>& losses() const { return losses_; }
  pass::Loss loss() const { return losses_.at(0).kind; }
  const std::string& loss_reason() const { return losses_.at(0).reason; }
  // Activations and scratch of the largest program, plus all persistent tensors: known before the first step.
  // Beside it a process holds the program itself, the graphs without their tensors' data, and batches that
  // are prepared ahead.
  int64_t planned_bytes() const;

  // Gives the activations' memory back until the next run of a program, for whoever needs room in between.
  // Their values are lost.
  void release_activations() { arena_.release(); }

  // The end of training: gives back all memory but that of the file's tensors (file_tensor below), programs
  // and optimizer state included. Nothing can be run any more.
  void finish();

  // What belongs into a checkpoint: parameters, statistics, optimizer state; not what a step computes afresh.
  bool is_checkpointed(const std::string& name) const {
    return store_.lifetime(name) == ir::Lifetime::kCheckpointed;
  }
  // Makes copies that follow from the checkpointed tensors equal to them again, after these were replaced.
  void restore_derived() { store_.restore_derived(); }
  // The parameters and running statistics that the file has.
  std::vector<std::string> file_tensor_names() const;
  // Those of them that steps move: trained, or statistics of a norm that is not frozen. All others are what
  // the file has.
  const std::vector<std::string>& moving_tensor_names() const { return moving_; }
  // One of them in the file's order and at least fp32.
  Tensor file_tensor(const std::string& name) const;
  bool has_file_tensor(const std::string& name) const { return storage_axes_.count(name) != 0; }
  // The other way: new values, rounded to nearest. What the optimizer carries for it (carry_name) is 0 then,
  // and its average (average_name) what it is itself.
  // Errors (input): another shape; a value that is not finite, or is beyond the storage type's range.
  void set_file_tensor(const std::string& name, const Tensor& values);

 private:
  struct Compiled {
    pass::NetworkGraph network;  // its graph is the program's
    std::unique_ptr<exec::Program> program;
    bool evaluates;  // and is fed as evaluations are
    int64_t used;    // when it was last: counts uses
    // Not initialisers at the members, which clang does not have yet where std::optional asks.
    Compiled() : evaluates(false), used(0) {}
  };
  // training: infinite weights are refused too.
  std::vector<pass::NarrowLoss> load(const ir::Graph& graph, bool training);
  void compile(Compiled& compiled);
  std::vector<ir::ValueId> lent_inputs(const ir::Graph& graph, const std::vector<ir::ValueId>& inputs,
                                       bool evaluates);
  const pass::LossOptions& evaluation_loss() const;
  Compiled& evaluation(const BatchSize& size);
  // noticed: of its first pass, which has all samples.
  Score evaluate_filled(data::Batch& batch, std::optional<exec::NonFinite>& noticed);
  void feed(Compiled& compiled, const data::Batch& batch, int64_t count);
  std::optional<Fault> find_non_finite(Compiled& compiled, const data::Batch& batch, int64_t count);
  int64_t row_of(const Compiled& compiled, const Fault& fault, int64_t count) const;
  Score score(const Compiled& compiled, const data::Batch& batch, int64_t count, bool keep_samples) const;
  // The loss of each sample of the batch that has just run, whatever the loss.
  std::vector<float> sample_losses(const Compiled& compiled, int64_t count) const;
  void feed_labels(exec::Program& program, const pass::LossNode& loss, const data::Batch& batch,
                   int64_t count);
  void feed_total(exec::Program& program, const pass::LossNode& loss, double total) const;
  std::vector<float> losses_of_samples(const Compiled& compiled, const pass::LossNode& loss,
                                       int64_t count) const;
  PartScore part_score(const Compiled& compiled, const pass::LossNode& loss, const data::Batch& batch,
                       int64_t count) const;
  std::optional<int64_t> correct_of_two(const Compiled& compiled, const pass::LossNode& loss,
                                        const data::Batch& batch, int64_t count,
                                        std::vector<uint8_t>* hits) const;
  Compiled& compile_training(const BatchSize& size);
  void compile_more();
  BatchSize main_size() const { return {options_.size_class, options_.batch}; }
  Compiled& training_of(const data::Batch& batch);
  pass::LossOptions sized(pass::LossOptions loss, size_t size_class) const;
  pass::TrainingOptions sized(pass::TrainingOptions training, size_t size_class) const;
  void watch(Compiled& compiled) const;
  void compile_statistics();
  void add_statistics(size_t size_class, const Compiled& training);
  int64_t statistics_bytes() const;
  // Of the store, what no step has written to yet: optimizer state, sums of gradients.
  int64_t fresh_bytes() const;

  Importer importer_;
  CompileOptions options_;
  par::Pool pool_;
  exec::Store store_;
  exec::Arena arena_;
  const kern::Kernels& kernels_;
  ops::StepState state_;
  std::optional<Compiled> training_;
  std::map<BatchSize, Compiled> more_training_;  // the same for batches of other sizes
  Compiled* current_ = nullptr;                  // of these, which ran last
  std::map<BatchSize, Compiled> evaluation_;
  // Of outputs(): the network alone.
  struct Plain {
    std::unique_ptr<exec::Program> program;
    std::vector<ir::ValueId> inputs, outputs;
    std::vector<std::string> names;
    int64_t used = 0;
  };
  std::map<BatchSize, Plain> plain_;
  Plain& plain_of(const BatchSize& size, std::vector<pass::NarrowLoss>* losses = nullptr);
  std::map<size_t, Compiled> gradients_;  // of full batches, by size class
  std::vector<Score> evaluated_;
  bool measures_more_ = false;
  std::vector<EvaluationMetrics> metrics_;  // one a loss
  // Of the batch that has just run; `rows` of its samples count.
  void measure(const Compiled& compiled, const data::Batch& batch, int64_t rows);
  void measure_texts(const Compiled& compiled, const pass::LossNode& loss, const data::Batch& batch,
                     int64_t rows, EvaluationMetrics& metrics);
  // Of full batches, by size class; without a program where there are no norms to measure.
  struct Statistics {
    pass::StatisticsGraph network;  // its graph is the program's
    std::unique_ptr<exec::Program> program;
  };
  std::map<size_t, Statistics> statistics_;
  const Statistics* measured_ = nullptr;                      // which ran last
  std::map<std::string, std::vector<int64_t>> storage_axes_;  // of every parameter and statistic of the file
  std::vector<std::string> moving_;
  std::vector<pass::LossNode> losses_;
  std::optional<bool> channels_last_;  // as the program wants the samples that was compiled first
  bool outputs_as_evaluated_ = false;
  bool looks_at_all_ = false, measures_time_ = false;
  int64_t uses_ = 0;
  std::vector<double> totals_;  // of the step, one a loss: LossNode::total
  int64_t planned_bytes_ = 0;   // what it was before finish()
};

}  // namespace halftone::train
