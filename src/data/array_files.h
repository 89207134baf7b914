// One set in several files: a folder of .npz or .safetensors files, or of folders of .npy, that have the same
// arrays. Samples may have other sizes in each file; files whose samples have the same sizes are one class.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// Whether the folder, or folders in it that are called train, val or test, hold such files.
bool is_folder_of_arrays(const std::string& path);
// What else there is in a folder that is read for its .npy files: names of .npz, .safetensors and folders of
// .npy.
std::vector<std::string> arrays_beside_npy(const std::string& folder);
std::vector<std::string> array_files_splits(const std::string& path);
// Errors name the file: an array that is missing or has another type or number of axes than in the others,
// arrays of one file with different numbers of samples, more sizes than kMostSizeClasses.
std::unique_ptr<Dataset> open_array_files(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
