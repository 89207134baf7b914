// safetensors as a set of samples: arrays x and y by name. Source:
// https://github.com/huggingface/safetensors#format
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/array.h"
#include "data/dataset.h"
#include "data/safetensors_header.h"
#include "data/spec.h"

namespace halftone::data {

// Whether the file begins with a length that fits and a header that begins like one.
bool is_safetensors_file(const std::string& path);

struct SafetensorsFile {
  SafetensorsHeader header;
  std::shared_ptr<const Bytes> data;  // behind the header
};
// Errors: a header that is none (safetensors_header.h).
SafetensorsFile read_safetensors_file(const std::string& path, FileUse use = FileUse::kKeptOpen);

// All arrays of a file, in the order of their names; Array::name is "PATH, KEY". Errors: damaged header,
// offsets that don't fit shape and file.
std::vector<Array> read_safetensors(const std::string& path);

NamedArrays safetensors_arrays(const std::string& path, FileUse use = FileUse::kKeptOpen);

std::vector<std::string> safetensors_splits(const std::string& path);
std::unique_ptr<Dataset> open_safetensors(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
