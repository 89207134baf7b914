// What a run changes in its network before the first step: a new last layer, tensors that begin anew, adapters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/class_map.h"
#include "halftone/halftone.h"
#include "onnx/adapters.h"
#include "onnx/model.h"
#include "onnx/new_head.h"

namespace halftone::api {

struct Beginning {
  std::optional<onnx::NewHead> head;
  std::vector<std::string> reset;  // patterns
  uint64_t seed = 0;
  std::optional<onnx::LoraOptions> lora;  // with_lora (lora.h) adds them
  std::vector<std::string> outputs;       // with lora: those that are trained

  bool changes() const { return head || !reset.empty() || lora; }
};

// For checkpoints, which must find the network again that their run began with. Error: `text` is something else.
std::string to_json(const Beginning& beginning);
Beginning beginning_from_json(const std::string& text, const std::string& where);

// Error (usage) for options that do not go together, before anything is opened. given: batches come from the host.
void check_beginning(const TrainOptions& options, bool given);

// What the options ask for. model: as open_model gives it. The number of classes that nobody names is found in the
// training data, which is opened for that. run: the classes of a run that is continued.
Beginning beginning_of(const TrainOptions& options, const onnx::Model& model, bool given,
                       const data::ClassMap& run);

// The model with the changes, but for adapters, said in lines to the log.
onnx::Model begun(const onnx::Model& model, const Beginning& beginning, const Log& log);

}  // namespace halftone::api
