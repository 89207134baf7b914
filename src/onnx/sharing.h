// Which nodes read a tensor, and what follows when several do. Everything that gives a tensor new elements
// (running statistics, folding batch norms back, freezing, saving, exporting) decides by this, before the
// first step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/patterns.h"
#include "onnx/model.h"

namespace halftone::onnx {

enum class UseKind : uint8_t {
  kOperand,   // any input that is not one of the others: a weight, a bias, a scale, a constant
  kMean,      // running mean of a batch norm
  kVariance,  // running variance of a batch norm
  kOutput,    // an output of the network
};

// One reader of a tensor. Nodes that only pass elements on (Identity, Reshape, Transpose, ...) are no readers
// themselves; those behind them are. Nodes that no output of the network needs don't count.
struct Use {
  UseKind kind = UseKind::kOperand;
  size_t node = 0;      // of Model::nodes; not for kOutput
  size_t input = 0;     // of that node
  std::string value;    // the name that the node reads: the tensor's, or that of a node in between
  bool direct = false;  // the tensor itself or through Identity alone
  bool same_elements =
      false;  // or through Cast: the same elements in the same shape, perhaps in another type
  bool is_statistic() const { return kind == UseKind::kMean || kind == UseKind::kVariance; }
};

class Sharing {
 public:
  // Keeps nothing of the model.
  explicit Sharing(const Model& model);

  // All uses of a tensor of the file (any type), in the order of Model::nodes; empty for one that nobody
  // needs.
  const std::vector<Use>& uses(const std::string& tensor) const;
  // Other names of the tensor: outputs of Identity nodes that read it.
  const std::vector<std::string>& aliases(const std::string& tensor) const;
  // "Conv '/conv1/Conv' (bias), BatchNormalization '/bn1/...' (running mean), ...": at most three of its
  // readers.
  std::string readers(const std::string& tensor, const Model& model) const;

 private:
  std::map<std::string, std::vector<Use>> uses_;
  std::map<std::string, std::vector<std::string>> aliases_;
};

// The input of a node as people call it: "bias", "running mean", "input 3".
std::string input_name(std::string_view op_type, size_t input);

// The model in which each running mean and variance is a tensor that nothing else reads: statistics move, and
// what else reads the same tensor must not move with them. Exporters merge equal tensors, so that a scale can
// be a running variance too. A statistic gets a tensor of its own, with the same elements, where
//  - something that is no statistic reads its tensor;
//  - with `every_norm`: the statistics of several norms (or both of one) are one tensor; one of them keeps
//    it.
// `notes`, if given, receives a line for each.
Model with_own_statistics(const Model& model, bool every_norm, std::vector<std::string>* notes = nullptr);

// Of these convolutions (names of nodes; those that don't exist are ignored), the model in which each has a
// bias that nothing else reads.
Model with_own_biases(const Model& model, const std::set<std::string>& convolutions,
                      std::vector<std::string>* notes = nullptr);

// Whether a convolution's batch norm can be put back and folded again without changing what else reads its
// tensors: the weight must have no other reader, and weight and bias reach the convolution as they are in the
// file. (The bias may have other readers: with_own_biases.) False too for a name that several nodes have.
bool can_restore(const Model& model, const Sharing& sharing, const std::string& convolution);

// What --freeze keeps from changing, as far as --train does not overrule it.
struct Frozen {
  std::set<std::string> tensors;  // float tensors of the file
  std::set<size_t>
      norms;  // of Model::nodes: batch norms with such a tensor, which normalise with running statistics
};
// A pattern matches a tensor by any of its names (tensor_names.h). One that matches none is roles_of's to
// refuse.
Frozen frozen_by(const Model& model, const Sharing& sharing, const TrainFreeze& choice);

}  // namespace halftone::onnx
