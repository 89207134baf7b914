// From an imported network to the graph of an optimizer step, or of an evaluation: layout, loss, gradients,
// optimizer.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kern/kernels.h"
#include "ops/op.h"

namespace halftone::pass {

// kGraph: an output of the graph is the loss itself, one number or one a sample (--loss-graph).
// The last three compare embeddings (embedding_loss.h).
enum class Loss : uint8_t {
  kAuto,
  kCrossEntropy,
  kMse,
  kBce,
  kBceWithLogits,
  kGraph,
  kInBatchNegatives,
  kCosine,
  kTriplet
};
std::string name_of(Loss loss);
// Whether it compares the texts of a sample, of which the output has an embedding each.
bool compares_texts(Loss loss);

// What is fed as labels.
enum class Labels : uint8_t {
  kClasses,        // int32, one class number a sample; with a binary loss and one output a sample 0 or 1
  kTargets,        // numbers, as many as the network's output has
  kDistributions,  // cross-entropy: probabilities of the classes
};

// Of cross-entropy: which axis of the output counts the classes.
enum class ClassAxis : uint8_t {
  kSample,  // one vector of classes a sample
  kFirst,   // axis 1: (N, C, ...) with labels (N, ...)
  kLast,    // (N, ..., C) with labels (N, ...)
};

// What train/target.h decided of one loss.
struct LossOptions {
  Loss loss = Loss::kCrossEntropy;  // not kAuto
  Labels labels = Labels::kClasses;
  double label_smoothing = 0;
  std::string reason;  // in words, for people
  ClassAxis axis = ClassAxis::kSample;
  bool weighted = false;  // the labels come with a weight for each of them (data::weights_of)
  size_t output = 0;      // of the imported graph's outputs
  std::string output_name;
  std::string field;  // of the labels; empty: the first labels there are
  double weight = 1;  // in the sum of all losses
  // kGraph: appends the loss's nodes behind the network and returns its value. `known`: the network's outputs
  // and inputs by name, floats in the register type. Inputs that it adds are the graph's, and have the sizes
  // of the size class.
  using Append = std::function<ir::ValueId(ir::Graph& graph, const std::map<std::string, ir::ValueId>& known,
                                           int64_t batch, DType type, size_t size_class)>;
  Append append = {};
  std::vector<std::string> outputs = {};  // kGraph: names of the imported graph's outputs
  // Further losses: what is trained is the weighted sum of all. Theirs is empty.
  std::vector<LossOptions> more = {};
  size_t size_class = 0;         // kGraph: of the imported graph
  double similarity_scale = 20;  // kInBatchNegatives: what cosines are multiplied by
  double margin = 5;             // kTriplet
  bool single() const { return more.empty() && weight == 1 && !weighted && loss != Loss::kGraph; }
};

// PyTorch's names and defaults.
struct OptimizerOptions {
  kern::Optimizer kind = kern::Optimizer::kSgd;
  kern::Rounding rounding = kern::Rounding::kStochastic;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  bool decay_all = true;  // false: no decay for tensors of rank < 2 (biases, norm scales and shifts)
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double alpha = 0.99;  // RMSProp: decay of the mean of squares
};

// Of one tensor.
struct TensorRates {
  double lr_scale = 1;                 // times the learning rate of the step
  std::optional<double> weight_decay;  // instead of the optimizer's
  int64_t begins_at = 0;               // it stays as it is until so many steps were taken
};

struct TrainingOptions {
  DType storage = DType::kF32;
  LossOptions loss;
  OptimizerOptions optimizer;
  double average_decay = 0;      // of the weights' averages (AverageStep); 0: there are none
  bool accumulate = false;       // several micro-batches a step: gradients are summed in fp32
  std::set<std::string> frozen;  // names of parameters that stay as they are
  // By name; of a restored batch norm its convolution's.
  std::map<std::string, TensorRates> rates = {};
};

// A loss of the graph: what is fed and read.
struct LossNode {
  Loss kind =
      Loss::kCrossEntropy;  // as asked for; kBce becomes kBceWithLogits where a Sigmoid is the last node
  ir::ValueId output =
      ir::kNone;  // what it reads (logits), the batch in front; with positions [batch * positions, classes]
  ir::ValueId label =
      ir::kNone;  // int32 classes of cross-entropy, else numbers in the register type; kGraph: kNone
  ir::ValueId weights = ir::kNone;  // of each label, in the register type, where they are weighted
  // Where a step has several micro-batches: what the weights of one add up to, in the mean of them (one
  // number).
  ir::ValueId total = ir::kNone;
  // Cross-entropy: one a label (times its weight); kGraph: one, or one a sample; of embeddings one a sample; else sums
  // over chunks of elements.
  ir::ValueId loss = ir::kNone;
  ir::ValueId correct = ir::kNone;  // cross-entropy: int32, one a label
  std::string name;                 // of the output
  std::string field;                // of the labels; empty: the first labels there are
  double weight = 1;
  std::string reason;            // LossOptions::reason
  double similarity_scale = 20;  // kInBatchNegatives
};

// Which values of a graph to feed and to read.
struct NetworkGraph {
  ir::Graph graph;
  std::vector<ir::ValueId> inputs;  // the network's, in its order, and those of a loss that is a graph
  std::vector<LossNode> losses;     // at least one
  std::vector<std::string> trained;
  std::vector<std::string> frozen;
  std::vector<std::string> statistics;  // running means and variances that steps move
  std::vector<ir::ValueId> parameters;  // as `trained`
  std::vector<ir::ValueId> gradients;   // of `trained`, before the optimizer
};

// The compute phase gives loss and gradients, the update phase guards and steps. `imported` comes from
// onnx::import in Mode::kTrain. Inputs may want to be fed in another order of axes (Value::storage_axes), as
// those of evaluation_graph may.
NetworkGraph training_graph(ir::Graph imported, const TrainingOptions& options);
// Loss and correct only. `imported` comes from onnx::import in Mode::kEval.
NetworkGraph evaluation_graph(ir::Graph imported, DType storage, const LossOptions& options);
// Loss and gradients, which are the graph's outputs too, without an update: for proofs against other
// programs.
NetworkGraph gradient_graph(ir::Graph imported, const TrainingOptions& options);

// The names under which a parameter's companions live in the store.
std::string momentum_name(const std::string& parameter);
std::string variance_name(const std::string& parameter);
std::string carry_name(const std::string& parameter);
std::string gradient_sum_name(const std::string& parameter);
std::string average_name(const std::string& parameter);

}  // namespace halftone::pass
