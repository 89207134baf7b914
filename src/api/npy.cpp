#include "api/npy.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "data/npy.h"

namespace halftone::api {
namespace {

struct Code {
  const char* text;
  DType dtype;
};
constexpr Code kCodes[] = {{"<f8", DType::kF64}, {"<f4", DType::kF32}, {"<f2", DType::kF16},
                           {"<i8", DType::kI64}, {"<i4", DType::kI32}, {"|u1", DType::kU8},
                           {"|b1", DType::kU8}};

}  // namespace

Tensor read_npy(const std::string& path) {
  const data::Array array = data::read_npy(data::file_bytes(path), path);
  const int64_t n = elements(array.shape);
  if (data::is_float(array.type)) {
    Tensor out(DType::kF64, array.shape);
    if (array.type == data::Element::kF64 && !array.big_endian) {
      array.bytes->read(0, out.bytes(), out.data());
      return out;
    }
    std::vector<float> values(static_cast<size_t>(n));
    data::read_floats(array, 0, values);
    Tensor single(DType::kF32, array.shape);
    std::copy(values.begin(), values.end(), single.as<float>().begin());
    return single;
  }
  std::vector<int64_t> values(static_cast<size_t>(n));
  data::read_integers(array, 0, values);
  return int64_tensor(values, array.shape);
}

void write_npy(const std::string& path, const Tensor& tensor) {
  const char* code = nullptr;
  for (const Code& c : kCodes)
    if (c.dtype == tensor.dtype() && code == nullptr) code = c.text;
  HT_ASSERT(code != nullptr, "{} has no .npy form", name_of(tensor.dtype()));
  std::string shape;
  for (const int64_t d : tensor.shape()) shape += std::to_string(d) + ", ";
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", code, shape);
  // The data begins at a multiple of 64 bytes.
  header.append((64 - (10 + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += '\x01';
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.bytes()));
  write_file_atomically(path, bytes);
}

std::string gradient_file(const std::string& parameter) {
  constexpr size_t kMostBytes = 255 - 8;  // of a file's name, without .npy.tmp
  std::string name;
  for (size_t i = 0; i < parameter.size(); ++i) {
    const char c = parameter[i];
    const auto byte = static_cast<uint8_t>(c);
    const bool escaped =
        c == '/' || c == '%' || byte < 0x20 || byte == 0x7F || (i == 0 && (c == '.' || parameter == "loss"));
    name += escaped ? fmt::format("%{:02X}", byte) : std::string(1, c);
  }
  if (name.size() > kMostBytes)
    throw input_error("the name of parameter {} is too long for a file: {} bytes, at most {} are possible",
                      parameter, name.size(), kMostBytes);
  return name;
}

}  // namespace halftone::api
