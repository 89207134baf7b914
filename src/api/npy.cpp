#include "api/npy.h"

#include <cstring>
#include <regex>

#include "base/error.h"
#include "base/file.h"

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
  const std::string bytes = read_file(path);
  if (bytes.size() < 10 || bytes.compare(0, 6, "\x93NUMPY") != 0)
    throw input_error("{} is no .npy file", path);
  const bool version1 = bytes[6] == 1;
  const size_t start = version1 ? 10 : 12;
  if (bytes.size() < start) throw input_error("{} is cut off", path);
  size_t length = 0;
  for (size_t i = 8; i < start; ++i)
    length |= static_cast<size_t>(static_cast<unsigned char>(bytes[i])) << (8 * (i - 8));
  if (length > bytes.size() - start || length > (1U << 16))
    throw input_error("{} is cut off in its header", path);
  const std::string header = bytes.substr(start, length);
  std::smatch type;
  std::smatch dims;
  if (!std::regex_search(header, type, std::regex("'descr': *'([^']*)'")) ||
      !std::regex_search(header, dims, std::regex("'shape': *\\(([^)]*)\\)")))
    throw input_error("{} has a header that is not understood: {}", path, header);
  if (header.find("'fortran_order': True") != std::string::npos)
    throw input_error("{} is in Fortran order; save it with order='C'", path);
  Shape shape;
  const std::string list = dims[1];
  const std::regex number("[0-9]+");
  for (auto it = std::sregex_iterator(list.begin(), list.end(), number); it != std::sregex_iterator(); ++it) {
    if (it->str().size() > 12) throw input_error("{} has a dimension of {}", path, it->str());
    shape.push_back(std::stoll(it->str()));
  }
  for (const Code& code : kCodes) {
    if (type[1] != code.text) continue;
    const int64_t n = elements(shape);
    if (n > static_cast<int64_t>(bytes.size()) ||
        static_cast<size_t>(n * size_bytes(code.dtype)) != bytes.size() - start - length)
      throw input_error("{}: shape {} needs {} bytes, the file has {}", path, to_string(shape),
                        n * size_bytes(code.dtype), bytes.size() - start - length);
    Tensor out(code.dtype, shape);
    std::memcpy(out.data(), bytes.data() + start + length, static_cast<size_t>(out.bytes()));
    return out;
  }
  throw input_error(
      "{} has elements of type {}; expected float64, float32, float16, int64, int32, uint8 or bool", path,
      type[1].str());
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

}  // namespace halftone::api
