// Writes safetensors files: named tensors and text metadata, readable by PyTorch and others, and by
// data/safetensors.h. Types: F64 F32 F16 BF16 I64 I32 U8.
#pragma once

#include <map>
#include <string>

#include "tensor/tensor.h"

namespace halftone::train {

struct Safetensors {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Replaces `path` atomically. Tensors lie in the order of the reference writer (wide types first, then by
// name), so that the same content gives the same file. Errors: a name or metadata that is not UTF-8, the name
// __metadata__, a full disk.
void write_safetensors(const std::string& path, const Safetensors& content);

}  // namespace halftone::train
