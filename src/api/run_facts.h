// What the folder of a run says of the network in it, for commands that are given the network alone.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/transform.h"
#include "halftone/halftone.h"
#include "onnx/model.h"

namespace halftone::api {

struct RunFacts {
  std::string folder;  // empty: the network is in no run's folder, or its configuration cannot be read
  data::Normalization normalization;
  std::string normalization_options;  // "--normalize imagenet"
  std::optional<std::string> loss;    // of a run with one loss that has ended, by its name: "cross-entropy"
  std::optional<std::string> label_column;
  std::map<std::string, std::string> options;  // as its config.yaml has them: "--batch" -> "128"
  std::string classes_file;                    // empty: it has none

  bool known() const { return !folder.empty(); }
};

// `model`: an ONNX file, which is a run's where it is model.onnx in its folder, or a run's folder.
RunFacts facts_of_run(const std::string& model);

// What the run says (OptionRow::of_run of `command`) of options that have their defaults and are not among `given` (by
// key); says which. Those that mean nothing for the kind of data are left aside. Its class names become
// options.classes_file for predictions.
void take_from_run(NetworkOptions& network, DataOptions& options, const RunFacts& run,
                   const std::vector<std::string>& given, unsigned command, const Log& log);

// `auto` as --normalize becomes what is said of the network: by the run in whose folder it is, else by
// the configuration beside it that Hugging Face's and timm's networks have, or the file's own metadata; else none. Says
// which. Numbers that are given (--mean, --std) stay. training: Error (usage) where nothing says it.
void resolve_normalization(DataOptions& options, const std::string& model, const onnx::Model& file,
                           const Log& log, bool training = false);

// For a network in the folder of a run that trained embeddings, what was not given: task, loss, pooling, length. Says
// which.
void take_embeddings(NetworkOptions& network, DataOptions& data, const RunFacts& run,
                     const std::vector<std::string>& given, const Log& log);

// A warning where the run in which the network is (if any) normalised its samples otherwise than `used`.
void warn_of_other_normalization(const std::string& model, const data::Normalization& used, const Log& log);

}  // namespace halftone::api
