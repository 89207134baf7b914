// From an imported network to the graph of an optimizer step, or of an evaluation: layout, loss, gradients,
// optimizer.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "kern/kernels.h"
#include "ops/op.h"

namespace halftone::pass {

enum class Loss : uint8_t { kAuto, kCrossEntropy, kMse, kBce, kBceWithLogits };
std::string name_of(Loss loss);

// What is fed as labels.
enum class Labels : uint8_t {
  kClasses,        // int32, one class number a sample; with a binary loss and one output a sample 0 or 1
  kTargets,        // numbers, as many as the network's output has
  kDistributions,  // cross-entropy: probabilities of the classes
};

// What train/target.h decided.
struct LossOptions {
  Loss loss = Loss::kCrossEntropy;  // not kAuto
  Labels labels = Labels::kClasses;
  double label_smoothing = 0;
  std::string reason;  // in words, for people
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
};

struct TrainingOptions {
  DType storage = DType::kF32;
  LossOptions loss;
  OptimizerOptions optimizer;
  bool accumulate = false;       // several micro-batches a step: gradients are summed in fp32
  std::set<std::string> frozen;  // names of parameters that stay as they are
};

// Which values of a graph to feed and to read.
struct NetworkGraph {
  ir::Graph graph;
  ir::ValueId sample = ir::kNone;   // the network's input
  ir::ValueId label = ir::kNone;    // int32 classes of cross-entropy, else numbers in the register type
  ir::ValueId output = ir::kNone;   // what the loss reads (logits), the batch in front
  ir::ValueId loss = ir::kNone;     // cross-entropy: one a sample; else sums over chunks of elements
  ir::ValueId correct = ir::kNone;  // cross-entropy: int32, one a sample
  Loss kind = Loss::kCrossEntropy;  // as asked for; kBce becomes kBceWithLogits where a Sigmoid is the last node
  std::string loss_reason;          // LossOptions::reason
  std::vector<std::string> trained;
  std::vector<std::string> frozen;
  std::vector<std::string> statistics;  // running means and variances that steps move
  std::vector<ir::ValueId> parameters;  // as `trained`
  std::vector<ir::ValueId> gradients;   // of `trained`, before the optimizer
};

// The compute phase gives loss and gradients, the update phase guards and steps. `imported` comes from
// onnx::import in Mode::kTrain.
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

}  // namespace halftone::pass
