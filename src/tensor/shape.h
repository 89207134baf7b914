// Shapes: a list of dimensions, row-major (the last runs fastest).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace halftone {

using Shape = std::vector<int64_t>;

// The number of elements; 1 for a scalar. Throws Error when it would not fit int64 (a hostile file can ask
// for that).
int64_t elements(const Shape& shape);

// Row-major strides in elements.
Shape strides_of(const Shape& shape);

// "2x3x4"; "scalar" for rank 0.
std::string to_string(const Shape& shape);

// The common shape of two under ONNX's multidirectional broadcasting; Error when there is none.
Shape broadcast(const Shape& a, const Shape& b);

// An axis in [-rank, rank) as one in [0, rank); Error otherwise.
int64_t normalize_axis(int64_t axis, int64_t rank);

}  // namespace halftone
