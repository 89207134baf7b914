// --loss: which outputs are trained or evaluated, by which losses, with which labels.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "onnx/model.h"
#include "pass/embedding.h"
#include "pass/training.h"
#include "train/network.h"

namespace halftone::api {

// [OUTPUT=]KIND[:FIELD][*WEIGHT]
struct LossSpec {
  pass::Loss kind = pass::Loss::kAuto;
  std::string output;  // empty: --output, else the first output of floats
  std::string field;   // of the labels; empty: the first labels of the data
  double weight = 1;
};

// --loss-graph is the last. Errors (usage): what is not of that form, with the kinds there are; a weight that
// is no positive number; --output besides.
std::vector<LossSpec> parse_losses(const NetworkOptions& options);

// Of --task embeddings: by the number of columns that --text names, and whether there are scores, where it is left open;
// none: --text names one column, of which there is no loss. Error (usage): another loss, or it does not fit these.
std::optional<pass::Loss> loss_of_texts(const std::vector<LossSpec>& losses, const DataOptions& options);
// --pooling.
pass::Pooling parse_pooling(const NetworkOptions& options);
// --normalize-embeddings; `loss`: for auto.
bool has_unit_embeddings(const NetworkOptions& options, pass::Loss loss);

// The network's outputs, or tensors inside it, that a loss graph takes by their names. Error: none.
std::vector<std::string> outputs_of_loss_graph(const onnx::Model& model, const onnx::Model& loss);

// The outputs that the losses read, each once, in their order; loss i reads outputs[index[i]].
struct UsedOutputs {
  std::vector<std::string> names;
  std::vector<size_t> index;
};
UsedOutputs outputs_of(const onnx::Model& model, const NetworkOptions& options);

// --class-weights of a training whose data decides them.
inline constexpr const char* kBalanced = "balanced";
// Without these, for a look at the data.
NetworkOptions unweighted(NetworkOptions options);

// --class-weights: numbers with commas between them, or a file of numbers. Empty: none. Errors (usage,
// input): not numbers, 0 or more.
std::vector<float> parse_class_weights(const std::string& text);

// "cross-entropy (the data has classes)"; of several "the sum of cross-entropy of 'a' (...) and 0.5 times mse
// of 'b' (...)".
std::string describe(const std::vector<pass::LossNode>& losses);

// Of several losses, or one with weights: a line for each, and its entry "losses" in a summary. Else nothing.
std::vector<std::string> losses_text(const std::vector<pass::LossNode>& losses, const train::Score& score);
void add_losses(nlohmann::json& summary, const std::vector<pass::LossNode>& losses,
                const train::Score& score);

}  // namespace halftone::api
