// What the folder of a run says of the network in it, for commands that are given the network alone.
#pragma once

#include <optional>
#include <string>

#include "data/transform.h"
#include "halftone/halftone.h"

namespace halftone::api {

struct RunFacts {
  std::string folder;  // empty: the network is in no run's folder, or its configuration cannot be read
  data::Normalization normalization;
  std::string normalization_options;  // "--normalize imagenet"
  std::optional<std::string> output;  // --output, where it was given
  std::optional<std::string> loss;    // of a run with one loss that has ended, by its name: "cross-entropy"
  std::optional<std::string> label_column;
  std::optional<std::string> task, pooling, normalize_embeddings;  // of text, where they were given
  int64_t resize = 0;
  std::string classes_file;  // empty: it has none

  bool known() const { return !folder.empty(); }
};

// `model`: an ONNX file, which is a run's where it is model.onnx in its folder, or a run's folder.
RunFacts facts_of_run(const std::string& model);

// `auto` as --normalize becomes what is said of the network: by the run in whose folder it is, else by
// preprocessor_config.json beside it, which Hugging Face's models have; else none. Says which. Numbers that are given
// (--mean, --std) stay.
void resolve_normalization(DataOptions& options, const std::string& model, const Log& log);

// For a network in the folder of a run that trained embeddings, what was not given: task, loss, pooling, length. Says
// which.
void take_embeddings(NetworkOptions& network, DataOptions& data, const RunFacts& run, const Log& log);

// A warning where the run in which the network is (if any) normalised its samples otherwise than `used`.
void warn_of_other_normalization(const std::string& model, const data::Normalization& used, const Log& log);

}  // namespace halftone::api
