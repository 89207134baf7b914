// Fields of ONNX messages that the schema of the system's ONNX may know or not: Debian 12's does not have
// what later versions added.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

namespace halftone::onnx {

// NodeProto.overload, NodeProto.metadata_props, FunctionProto.attribute_proto, FunctionProto.overload.
inline constexpr int kNodeOverload = 8;
inline constexpr int kNodeMetadata = 9;
inline constexpr int kFunctionAttributeProto = 11;
inline constexpr int kFunctionOverload = 13;

// What `message` has for the string or message field of this number, in order: strings as they are, messages
// serialised.
std::vector<std::string> field_texts(const google::protobuf::Message& message, int number);

}  // namespace halftone::onnx
