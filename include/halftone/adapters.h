// Low-rank adapters (LoRA) in the files of PEFT.
#pragma once

#include <string>
#include <vector>

namespace halftone {

// base: an ONNX file, or a run's folder. adapter: a folder with adapter_config.json and adapter_model.safetensors, of
// train --lora or of PEFT. Writes the network with the adapters merged into its weights. Returns what should be known
// of the result. Errors (input), naming all of them: tensors of the adapter that fit no weight; what the configuration
// asks for and merging cannot do.
std::vector<std::string> merge_adapter(const std::string& base, const std::string& adapter,
                                       const std::string& out);

}  // namespace halftone
