// ONNX's TensorProto to a Tensor and back, in every encoding. Private to src/onnx.
#pragma once

#include <optional>
#include <string>

#include "onnx/proto.h"
#include "tensor/tensor.h"

namespace halftone::onnx {

// "float", "int64", ...: the name of a TensorProto::DataType; "type 17" for one the schema does not know.
std::string type_name(int data_type);
// The type of Halftone's tensors for it. bool is uint8. Empty: there is none.
std::optional<DType> dtype_of(int data_type);

// Checks a tensor's dimensions against its data without decoding it (external data: against its file) and
// returns the shape. `model_path` is the model file. Errors name the tensor.
Shape checked_shape(const ::onnx::TensorProto& proto, const std::string& model_path);

// The elements. The proto has passed checked_shape; Error for types without a DType.
Tensor decode(const ::onnx::TensorProto& proto, const std::string& model_path);

// Replaces the elements and nothing else: same type, same encoding (raw stays raw, float_data stays
// float_data). value has the proto's type and shape. Not for external data.
void replace_elements(::onnx::TensorProto& proto, const Tensor& value);

}  // namespace halftone::onnx
