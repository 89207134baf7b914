// IDX, the format of MNIST and its relatives, plain or compressed by gzip: 0, 0, element type, rank, then
// rank dimensions (4 bytes each) and the elements, all big-endian. Source: http://yann.lecun.com/exdb/mnist/
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/array.h"
#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// Whether the file begins like IDX, compressed or not.
bool is_idx_file(const std::string& path);

// The splits (canonical names) of which the folder holds an images file; empty if it is no folder of IDX
// files.
std::vector<std::string> idx_splits(const std::string& folder);

// A folder, or an images file. Errors: no labels file (unless labels are not wanted), damaged, mismatched
// counts.
std::unique_ptr<Dataset> open_idx(const Spec& spec, const OpenOptions& options);

// One file. Errors: not IDX; sizes that don't agree with the file's.
Array read_idx(const std::string& path);

}  // namespace halftone::data
