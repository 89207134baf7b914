// A protobuf message as a file, written completely or not at all. Private to src/onnx.
#pragma once

#include <string>

#include "onnx/proto.h"

namespace halftone::onnx {

void write_message(const ::onnx::ModelProto& proto, const std::string& path);

}  // namespace halftone::onnx
