#include "onnx/tensor_proto.h"

#include <bit>
#include <cstring>

#include "base/error.h"
#include "onnx/external_data.h"

// Tensors are copied as they lie in the file, which is little-endian.
static_assert(std::endian::native == std::endian::little);

namespace halftone::onnx {
namespace {

using Proto = ::onnx::TensorProto;

// How many numbers the typed field for this type holds; -1 when the type is unknown.
int64_t typed_count(const Proto& proto) {
  switch (proto.data_type()) {
    case Proto::FLOAT:
      return proto.float_data_size();
    case Proto::COMPLEX64:
      return proto.float_data_size() / 2;
    case Proto::DOUBLE:
      return proto.double_data_size();
    case Proto::COMPLEX128:
      return proto.double_data_size() / 2;
    case Proto::INT64:
      return proto.int64_data_size();
    case Proto::UINT32:
    case Proto::UINT64:
      return proto.uint64_data_size();
    case Proto::STRING:
      return proto.string_data_size();
    case Proto::INT32:
    case Proto::INT16:
    case Proto::INT8:
    case Proto::UINT16:
    case Proto::UINT8:
    case Proto::BOOL:
    case Proto::FLOAT16:
    case Proto::BFLOAT16:
      return proto.int32_data_size();
    default:
      return -1;
  }
}

// An empty raw_data next to a typed field means nothing.
bool uses_raw(const Proto& proto) {
  return proto.has_raw_data() && !proto.raw_data().empty();
}

template <class To, class From>
void copy_as(const From& from, Tensor& to) {
  auto elements_of = to.as<To>();
  for (size_t i = 0; i < elements_of.size(); ++i)
    elements_of[i] = static_cast<To>(from.Get(static_cast<int>(i)));
}
template <class From, class Field>
void replace_as(const Tensor& from, Field* field) {
  const auto elements_of = from.as<From>();
  for (size_t i = 0; i < elements_of.size(); ++i) field->Set(static_cast<int>(i), elements_of[i]);
}

}  // namespace

int64_t raw_bytes(int type) {
  switch (type) {
    case Proto::UINT8:
    case Proto::INT8:
    case Proto::BOOL:
      return 1;
    case Proto::UINT16:
    case Proto::INT16:
    case Proto::FLOAT16:
    case Proto::BFLOAT16:
      return 2;
    case Proto::FLOAT:
    case Proto::INT32:
    case Proto::UINT32:
      return 4;
    case Proto::DOUBLE:
    case Proto::INT64:
    case Proto::UINT64:
    case Proto::COMPLEX64:
      return 8;
    case Proto::COMPLEX128:
      return 16;
    default:
      return 0;
  }
}

std::string type_name(int data_type) {
  if (data_type == Proto::UNDEFINED || !Proto::DataType_IsValid(data_type))
    return fmt::format("type {}", data_type);
  std::string name = Proto::DataType_Name(static_cast<Proto::DataType>(data_type));
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return name;
}

std::optional<DType> dtype_of(int data_type) {
  switch (data_type) {
    case Proto::FLOAT:
      return DType::kF32;
    case Proto::DOUBLE:
      return DType::kF64;
    case Proto::FLOAT16:
      return DType::kF16;
    case Proto::BFLOAT16:
      return DType::kBf16;
    case Proto::INT64:
      return DType::kI64;
    case Proto::INT32:
      return DType::kI32;
    case Proto::UINT8:
    case Proto::BOOL:
      return DType::kU8;
    default:
      return std::nullopt;
  }
}

Shape checked_shape(const Proto& proto, const TensorFile& file) {
  const Shape shape(proto.dims().begin(), proto.dims().end());
  const std::string& name = proto.name();
  int64_t count = 1;
  for (const int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(count, d, &count))
      throw input_error("tensor '{}' has the impossible shape {}", name, to_string(shape));
  if (proto.has_segment())
    throw input_error("tensor '{}' is stored in segments, which no exporter writes", name);
  const int64_t width = raw_bytes(proto.data_type());
  const std::string what = fmt::format("{} {}", to_string(shape), type_name(proto.data_type()));
  const DataPlace* detached = file.find(proto);
  const bool raw = detached != nullptr ? detached->raw : uses_raw(proto);
  if (is_external(proto) || raw) {
    int64_t bytes = 0;
    // Nobody can say how many bytes it should have. In the file it stays as it is; elsewhere it would have to
    // be copied.
    if (width == 0 && is_external(proto))
      throw input_error("tensor '{}' ({}) is external data of a type whose size Halftone does not know", name,
                        what);
    if (width == 0) return shape;
    if (__builtin_mul_overflow(count, width, &bytes))
      throw input_error("tensor '{}' has the impossible shape {}", name, to_string(shape));
    if (is_external(proto)) {
      external_place(proto, file.path, bytes);
      return shape;
    }
    const int64_t found =
        detached != nullptr ? detached->length : static_cast<int64_t>(proto.raw_data().size());
    if (found != bytes)
      throw input_error("tensor '{}' ({}) has {} bytes of data, expected {}", name, what, found, bytes);
    return shape;
  }
  const int64_t found = detached != nullptr ? detached->length / width : typed_count(proto);
  if (found >= 0 && found != count)
    throw input_error("tensor '{}' ({}) has {} elements of data, expected {}", name, what, found, count);
  return shape;
}

Tensor decode(const Proto& proto, const TensorFile& file) {
  const std::optional<DType> dtype = dtype_of(proto.data_type());
  if (!dtype)
    throw input_error(
        "tensor '{}' is of type {}; Halftone works on float, float16, bfloat16, double, int64, int32, uint8 "
        "and bool",
        proto.name(), type_name(proto.data_type()));
  const Shape shape = checked_shape(proto, file);
  Tensor out(*dtype, shape);
  if (is_external(proto)) {
    const ExternalPlace place = external_place(proto, file.path, out.bytes());
    read_external(place, out.data());
  } else if (const DataPlace* detached = file.find(proto)) {
    file.input->read(detached->offset, detached->length, out.data());
  } else if (uses_raw(proto)) {
    std::memcpy(out.data(), proto.raw_data().data(), static_cast<size_t>(out.bytes()));
  } else {
    switch (*dtype) {
      case DType::kF32:
        copy_as<float>(proto.float_data(), out);
        break;
      case DType::kF64:
        copy_as<double>(proto.double_data(), out);
        break;
      case DType::kI64:
        copy_as<int64_t>(proto.int64_data(), out);
        break;
      case DType::kI32:
        copy_as<int32_t>(proto.int32_data(), out);
        break;
      case DType::kU8:
        copy_as<uint8_t>(proto.int32_data(), out);
        break;
      case DType::kF16:
      case DType::kBf16:
        copy_as<uint16_t>(proto.int32_data(), out);  // the bits of the element in the lower half
        break;
    }
  }
  if (proto.data_type() == Proto::BOOL)
    for (uint8_t& x : out.as<uint8_t>()) x = x != 0;
  return out;
}

void replace_elements(Proto& proto, const Tensor& value) {
  HT_ASSERT(!is_external(proto) && dtype_of(proto.data_type()) == value.dtype());
  HT_ASSERT(Shape(proto.dims().begin(), proto.dims().end()) == value.shape(), "{}", proto.name());
  if (uses_raw(proto)) {
    proto.mutable_raw_data()->assign(static_cast<const char*>(value.data()),
                                     static_cast<size_t>(value.bytes()));
    return;
  }
  switch (value.dtype()) {
    case DType::kF32:
      replace_as<float>(value, proto.mutable_float_data());
      break;
    case DType::kF64:
      replace_as<double>(value, proto.mutable_double_data());
      break;
    case DType::kI64:
      replace_as<int64_t>(value, proto.mutable_int64_data());
      break;
    case DType::kI32:
      replace_as<int32_t>(value, proto.mutable_int32_data());
      break;
    case DType::kU8:
      replace_as<uint8_t>(value, proto.mutable_int32_data());
      break;
    case DType::kF16:
    case DType::kBf16:
      replace_as<uint16_t>(value, proto.mutable_int32_data());
      break;
  }
}

}  // namespace halftone::onnx
