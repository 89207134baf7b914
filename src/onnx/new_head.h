// A network's last layer with another number of rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// Of metadata_props: the names of the classes, ours and Ultralytics' exporters'.
inline constexpr const char* kClassKeys[] = {"halftone.classes", "names"};

struct LastLayer {
  std::string node;    // "Gemm '/fc/Gemm'"
  std::string weight;  // tensor of the file
  size_t rows_axis = 0;
  std::string bias;  // tensor of the file; empty: it has none
  size_t bias_axis = 0;
  int64_t rows = 0;    // numbers that it gives
  int64_t fan_in = 0;  // that each of them is computed from
  // What follows it: where the number of rows stands besides.
  std::vector<Changes::Size> sizes;                          // as it is, each to become the new number
  std::vector<std::pair<std::string, size_t>> named_shapes;  // constants, and which of their elements
};

// The layer that gives `output`: Gemm, MatMul (with Add) or Conv, through nodes that keep the classes apart: activations,
// pools and views. Error, naming node and tensor: there is none, its weight or bias is quantised, computed or read by
// other nodes too, or what stands behind it is made for its number of rows in a way that is not understood.
LastLayer last_layer(const Model& model, const std::string& output);
// None where last_layer would refuse the file.
std::optional<LastLayer> find_last_layer(const Model& model, const std::string& output);

struct NewHead {
  std::string output;
  int64_t rows = 0;
  std::vector<std::pair<int64_t, int64_t>> kept;  // (row of the file, new row)
  uint64_t seed = 0;
};

// The model whose last layer has head.rows rows: those that are kept, and others drawn (draw.h). Class names in the
// file's metadata are left out, as they are the old classes'.
Model with_new_head(const Model& model, const NewHead& head);

}  // namespace halftone::onnx
