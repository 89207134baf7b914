// What the mutation test (fuzz_test.cpp) and the fuzzers (tests/fuzz/data_fuzz.cpp) share.
#pragma once

#include <string>
#include <vector>

namespace halftone::data {

// image (JPEG, PNG), webp, gif, bmp, tiff, idx, npy, npz, safetensors, csv, cifar, spec; classes: files of class names and such lists in a
// network's metadata; *_fields: arrays as several named fields (npy_fields: a folder of files, each beginning
// with the format's magic number).
extern const std::vector<std::string> kFuzzedReaders;

// Small valid files of a kind, made by code (pictures: tests/fixtures/images).
std::vector<std::string> seeds_of(const std::string& reader);

// Gives the bytes to a reader as the user would, in several ways, and reads what there is. Returns the number
// of samples read. Any Error is fine, any other exception is not, and leaves this function.
int read_all(const std::string& reader, const std::string& bytes);

}  // namespace halftone::data
