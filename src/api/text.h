// Text for a network: its tokenizer, and which of its inputs take what of the tokens.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "api/fields.h"
#include "data/text_options.h"
#include "halftone/halftone.h"
#include "onnx/model.h"

namespace halftone::api {

// A tokenizer with the file that it was read from.
struct Tokenizer {
  std::shared_ptr<const ::halftone::text::Tokenizer> tokenizer;
  std::string path;
  std::string name;      // of its copy in a run's folder
  std::string bytes;     // of the file
  std::string contents;  // "1234 bytes, crc32c 1a2b3c4d"
};

// The file that --tokenizer names, else tokenizer.json, vocab.txt or the only .model in the folder of the network (or
// above a folder "onnx"). Error: there is none.
std::shared_ptr<const Tokenizer> open_tokenizer(const NetworkOptions& network, const DataOptions& options,
                                                const onnx::Model& model, const Log& log);
// The copy in the folder of a run.
void write_tokenizer(const std::string& folder, const Tokenizer& tokenizer);

// Errors (usage) of the options alone.
data::TextOptions text_options(const DataOptions& options, const onnx::Model& model);
// Of a text set: lengths that the network and the options ask for. training: of the set that is trained on.
data::TextReading text_reading(const Tokenizer& tokenizer, const NetworkOptions& network,
                               const DataOptions& options, const onnx::Model& model, data::TextTask task,
                               bool training, const Log& log);

// exp(loss), where tokens are predicted and the loss is that of text; else none.
std::optional<double> perplexity_of(data::TextTask task, double loss);

// Decides for the arrays of tokens that a text set has; binds sizes that the network leaves open. Error: an input that
// is none of these, by its name or by --input.
data::ArrayChoice choose_tokens(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                                const DataOptions& options, const std::vector<data::ArrayHeader>& arrays,
                                const std::string& path, const Log& log, FieldPlan& plan);

}  // namespace halftone::api
