// NumPy's .npy: a magic number, a version, a header that is a Python dictionary, and the elements.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (versions 1 to 3)
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/array.h"
#include "data/spec.h"

namespace halftone::data {

bool is_npy(const std::string& first_bytes);

// The array in `bytes`. Errors name it: not .npy, damaged, Python objects, Fortran order, strings, records, a
// size that the dimensions don't explain.
Array read_npy(std::shared_ptr<const Bytes> bytes, const std::string& name);

// Type and shape of the array that begins with `prefix`; none: its elements are of a kind that is not read,
// or it is damaged.
std::optional<ArrayHeader> npy_header(const std::string& prefix, const std::string& name);

// The length of a whole .npy that begins with `prefix`; for inflate(), with kNpyPrefix bytes.
int64_t npy_total_bytes(const std::string& prefix, const std::string& name);
constexpr int64_t kNpyPrefix = 4096;

// .npy with labels beside it, or a folder of such files (splits: x_train.npy and the like).
bool is_npy_file(const std::string& path);
std::vector<std::string> npy_splits(const std::string& folder);
bool is_npy_folder(const std::string& folder);
NamedArrays npy_arrays(const std::string& folder, FileUse use = FileUse::kKeptOpen);
std::unique_ptr<Dataset> open_npy(const Spec& spec, const OpenOptions& options);

// .npz: arrays in a zip file.
bool is_npz_file(const std::string& path);
NamedArrays npz_arrays(const std::string& path, FileUse use = FileUse::kKeptOpen);
std::unique_ptr<Dataset> open_npz(const Spec& spec, const OpenOptions& options);
// The splits that an .npz's names show (x_train, y_train, x_test, y_test: Keras' files); empty if there are
// none.
std::vector<std::string> npz_splits(const std::string& path);

}  // namespace halftone::data
