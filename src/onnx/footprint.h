// How much memory a protobuf message will take, found before it is parsed. Private to src/onnx.
#pragma once

#include <cstdint>
#include <string_view>

#include "onnx/proto.h"

namespace halftone::onnx {

// Bytes of structure (messages, strings, lists of numbers, and what Model keeps for each of them) that
// parsing an ONNX file would allocate, its bulk (raw tensor data, long strings) not counted. Two bytes can
// ask for a node, which takes hundreds. Stops counting beyond `most`. Damaged input gives any number: parsing
// will refuse it.
int64_t structure_bytes(std::string_view file, int64_t most);

}  // namespace halftone::onnx
