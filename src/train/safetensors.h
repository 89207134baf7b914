// safetensors files: named tensors and text metadata, readable by PyTorch and others.
//
// A file: u64 bytes of the header, the header (a JSON object, padded with spaces to a multiple of 8), the
// tensors' bytes, little-endian and row-major. Source: the format's description in huggingface/safetensors;
// as there, the tensors must cover the bytes behind the header exactly, without holes or overlaps, and a
// header has at most 100,000,000 bytes. Types: F64 F32 F16 BF16 I64 I32 U8. Others (BOOL, I8, F8_E4M3, ...)
// are refused by name.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace halftone::train {

struct Safetensors {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Errors name the file, the tensor and what is wrong. Allocates no more than the file's size explains.
Safetensors read_safetensors(const std::string& path);
// The same for a file's bytes in memory; `path` is for messages.
Safetensors parse_safetensors(std::string_view bytes, const std::string& path);

// Replaces `path` atomically. Tensors lie in the order of the reference writer (wide types first, then by
// name), so that the same content gives the same file. Errors: a name or metadata that is not UTF-8, the name
// __metadata__, a full disk.
void write_safetensors(const std::string& path, const Safetensors& content);

}  // namespace halftone::train
