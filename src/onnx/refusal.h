// The message for a network that cannot be trained: everything that stands in the way, and what to try.
#pragma once

#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

struct RefusalContext {
  std::string path;
  int64_t file_batch = -1;  // what the file fixes its first dimension to; -1: open
  int64_t batch = 1;        // what was asked for
  size_t unchecked = 0;     // nodes behind refused ones that could not be looked at
};

// Problems of one kind are said once, with all their nodes. The advice at the end is for the problems that
// are there.
std::string refusal_text(const std::vector<Problem>& problems, const RefusalContext& context);

}  // namespace halftone::onnx
