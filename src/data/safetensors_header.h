// The header of a safetensors file: what its tensors are and where they lie.
//
// A file: u64 bytes of the header, the header (a JSON object, padded with spaces to a multiple of 8), the
// tensors' bytes, little-endian and row-major. Source: the format's description in huggingface/safetensors;
// as there, the tensors must cover the bytes behind the header exactly, without holes or overlaps, and a
// header has at most 100,000,000 bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace halftone::data {

constexpr int64_t kMostSafetensorsHeaderBytes = 100'000'000;
inline constexpr const char* kSafetensorsMetadata = "__metadata__";

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as the file has it, "F32"; not looked at
  Shape shape;
  int64_t begin = 0;  // bytes behind the header
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their names
  std::map<std::string, std::string> metadata;
};

// `text` is the header; data_bytes lie behind it. Errors name the file, the tensor and what is wrong. Takes
// no more memory than the text explains.
SafetensorsHeader parse_safetensors_header(const std::string& text, int64_t data_bytes,
                                           const std::string& path);

}  // namespace halftone::data
