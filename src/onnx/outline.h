// An ONNX file without the bulk of its tensors: what there is to parse, and where the bulk lies. Private to
// src/onnx.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halftone::onnx {

// Where a tensor stands in the message: an initializer, or a node's attribute.
struct TensorPlace {
  // From the file's graph to that of a branch: node and attribute, again and again.
  using Path = std::vector<std::pair<int, int>>;
  int initializer = -1;
  int node = -1;       // index in its graph
  int attribute = -1;  // of that node
  Path within = {};    // empty: the file's graph
};

// Where a tensor's elements lie in the file, as they lie in memory.
struct DataPlace {
  int64_t offset = 0;
  int64_t length = 0;
  bool raw = true;  // raw_data; else a packed float_data or double_data
};

struct Outline {
  std::string message;  // the file's without the field that holds the elements of these tensors:
  std::vector<std::pair<TensorPlace, DataPlace>> tensors;
};

// Reads [offset, offset + bytes), which lies inside the file.
using ReadAt = std::function<void(int64_t offset, int64_t bytes, void* to)>;

// Nothing when the file is damaged or unusual (a message in several parts, say): then it is to be parsed as a
// whole, which says what is wrong.
std::optional<Outline> outline(const ReadAt& read, int64_t file_bytes);

}  // namespace halftone::onnx
