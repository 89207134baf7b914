// The official ONNX schema as protobuf classes. Private to src/onnx: no other header includes it.
#pragma once

#ifndef ONNX_ML
#define ONNX_ML 1
#endif
#include <onnx/onnx_pb.h>
