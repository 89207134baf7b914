// --lora: adapters beside the weights of a network that stays as it is.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/beginning.h"
#include "base/patterns.h"
#include "halftone/halftone.h"
#include "onnx/adapters.h"
#include "onnx/model.h"
#include "onnx/save.h"

namespace halftone::api {

inline constexpr int64_t kMostRank = int64_t{1} << 16;
inline constexpr const char* kAdapterFile = "adapter_model.safetensors";
inline constexpr const char* kAdapterConfig = "adapter_config.json";
inline constexpr std::string_view kPeftPrefix = "base_model.model.";  // of its tensors' names

// Error (usage): it is not r=N,alpha=F[,dropout=P][,targets=PATTERN]...
onnx::LoraOptions parse_lora(const std::string& text);
// Error (usage): --lora with an option that it does not go with.
void check_lora(const TrainOptions& options);

struct LoraNetwork {
  onnx::Model base;  // as begun() gives it: what is written
  onnx::Adapters adapters;
  std::vector<std::string> head;  // tensors of a new last layer, which are trained in full
  onnx::Model adapted;            // what is trained
  TrainFreeze tensors;            // and which of its tensors
};
// beginning.lora is there. base: as begun() gives it.
LoraNetwork with_lora(const onnx::Model& base, const Beginning& beginning, const Log& log);

// The tensors of `base` that differ from the file's, and their elements. trained: gives those of `adapted`, by name.
std::vector<std::string> merged_names(const LoraNetwork& lora);
Tensor merged_tensor(const LoraNetwork& lora, const std::string& name, const onnx::TensorSource& trained);

// adapter_model.safetensors and adapter_config.json in `folder`, as PEFT reads them.
void write_adapter(const LoraNetwork& lora, const onnx::TensorSource& trained, const std::string& folder);

}  // namespace halftone::api
