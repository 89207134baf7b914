// ONNX's TensorProto to a Tensor and back, in every encoding. Private to src/onnx.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "onnx/outline.h"
#include "onnx/proto.h"
#include "tensor/tensor.h"

namespace halftone::onnx {

// "float", "int64", ...: the name of a TensorProto::DataType; "type 17" for one the schema does not know.
std::string type_name(int data_type);
// The type of Halftone's tensors for it. bool is uint8. Empty: there is none.
std::optional<DType> dtype_of(int data_type);

// The model's file, and the elements of its tensors that are left there and read when they are wanted.
struct TensorFile {
  std::string path;
  std::shared_ptr<const InputFile> input;  // there when anything is detached
  std::map<const ::onnx::TensorProto*, DataPlace> detached;
  // nullptr: the message has the elements itself, or they are external.
  const DataPlace* find(const ::onnx::TensorProto& proto) const {
    const auto it = detached.find(&proto);
    return it == detached.end() ? nullptr : &it->second;
  }
};

// Bytes of one element in raw or external data; 0 for types that have none (strings), or that the schema does
// not know.
int64_t raw_bytes(int data_type);

// Checks a tensor's dimensions against its data without decoding it (external data: against its file) and
// returns the shape. Errors name the tensor.
Shape checked_shape(const ::onnx::TensorProto& proto, const TensorFile& file);

// The elements. The proto has passed checked_shape; Error for types without a DType, and when the file
// changed since it was opened.
Tensor decode(const ::onnx::TensorProto& proto, const TensorFile& file);

// Replaces the elements and nothing else: same type, same encoding (raw stays raw, float_data stays
// float_data). value has the proto's type and shape. Not for external or detached data.
void replace_elements(::onnx::TensorProto& proto, const Tensor& value);

}  // namespace halftone::onnx
