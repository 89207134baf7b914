#include "onnx/external_data.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/resource_error.h"

namespace halftone::onnx {
namespace {

namespace fs = std::filesystem;

int64_t number(const std::string& text, const char* key, const std::string& tensor) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw input_error("tensor '{}': {} of its external data is '{}', expected a number >= 0", tensor, key,
                      text);
  return value;
}

// The file's path, proven to lie inside the folder after all symbolic links.
std::string path_inside(const fs::path& folder, const std::string& location, const std::string& tensor) {
  const fs::path relative(location);
  const auto refuse = [&](const std::string& reason) {
    return input_error(
        "tensor '{}': its external data '{}' {}; it must be a file inside the model's folder {}", tensor,
        location, reason, folder.string());
  };
  const auto unreadable = [&](int reason) {
    return file_error(reason,
                      fmt::format("tensor '{}': cannot open its external data '{}'", tensor, location));
  };
  if (location.empty()) throw refuse("has no location");
  if (location.find('\0') != std::string::npos)  // which would also end the message
    throw input_error("tensor '{}': the location of its external data has a zero byte in it", tensor);
  if (relative.is_absolute()) throw refuse("is an absolute path");
  for (const fs::path& part : relative)
    if (part == "..") throw refuse("leaves it by '..'");
  std::error_code error;
  const fs::path base = fs::canonical(folder, error);
  if (error && kind_of_file_error(error.value()) == kResources) throw unreadable(error.value());
  if (error) throw refuse("cannot be found: " + error.message());
  const fs::path target = fs::canonical(base / relative, error);
  if (error && kind_of_file_error(error.value()) == kResources) throw unreadable(error.value());
  if (error) throw refuse("cannot be opened: " + error.message());
  auto [base_end, rest] = std::mismatch(base.begin(), base.end(), target.begin(), target.end());
  // A canonical folder ends in no separator but for "/", whose parts are a prefix all the same.
  if (base_end != base.end() || rest == target.end()) throw refuse("is a symbolic link that leaves it");
  return target.string();
}

using OnTensor = std::function<void(const ::onnx::TensorProto&)>;

void visit(const ::onnx::TensorProto& t, const OnTensor& use) {
  if (is_external(t)) use(t);
}
void visit(const ::onnx::SparseTensorProto& t, const OnTensor& use) {
  visit(t.values(), use);
  visit(t.indices(), use);
}
void visit(const ::onnx::NodeProto& node, const OnTensor& use);
void visit(const ::onnx::GraphProto& graph, const OnTensor& use) {
  for (const auto& t : graph.initializer()) visit(t, use);
  for (const auto& t : graph.sparse_initializer()) visit(t, use);
  for (const auto& node : graph.node()) visit(node, use);
}
void visit(const ::onnx::NodeProto& node, const OnTensor& use) {
  for (const auto& a : node.attribute()) {
    if (a.has_t()) visit(a.t(), use);
    for (const auto& t : a.tensors()) visit(t, use);
    if (a.has_sparse_tensor()) visit(a.sparse_tensor(), use);
    for (const auto& t : a.sparse_tensors()) visit(t, use);
    if (a.has_g()) visit(a.g(), use);
    for (const auto& g : a.graphs()) visit(g, use);
  }
}

}  // namespace

void for_each_external(const ::onnx::ModelProto& proto, const OnTensor& use) {
  visit(proto.graph(), use);
  for (const auto& function : proto.functions())
    for (const auto& node : function.node()) visit(node, use);
}

bool is_external(const ::onnx::TensorProto& proto) {
  return proto.has_data_location() && proto.data_location() == ::onnx::TensorProto::EXTERNAL;
}

ExternalPlace external_place(const ::onnx::TensorProto& proto, const std::string& model_path, int64_t bytes) {
  ExternalPlace place;
  bool has_length = false;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") place.location = entry.value();
    if (entry.key() == "offset") place.offset = number(entry.value(), "offset", proto.name());
    if (entry.key() == "length") {
      place.length = number(entry.value(), "length", proto.name());
      has_length = true;
    }
  }
  fs::path folder = fs::path(model_path).parent_path();
  if (folder.empty()) folder = ".";
  place.path = path_inside(folder, place.location, proto.name());
  struct stat info {};
  if (::stat(place.path.c_str(), &info) != 0)
    throw file_error(errno,
                     fmt::format("tensor '{}': cannot read its external data {}", proto.name(), place.path));
  if (!S_ISREG(info.st_mode))
    throw input_error("tensor '{}': its external data {} is not a regular file", proto.name(), place.path);
  if (!has_length) place.length = bytes;
  if (place.length != bytes)
    throw input_error(
        "tensor '{}': its external data has length {}, expected {} bytes for its shape and type",
        proto.name(), place.length, bytes);
  if (place.offset > info.st_size || place.length > info.st_size - place.offset)
    throw input_error("tensor '{}': its external data lies at {} to {} of {}, which has only {} bytes",
                      proto.name(), place.offset,
                      static_cast<uint64_t>(place.offset) + static_cast<uint64_t>(place.length), place.path,
                      info.st_size);
  return place;
}

void read_external(const ExternalPlace& place, void* to) {
  const InputFile file(place.path);
  // It may have been shortened since its length was checked.
  if (place.offset > file.size() || place.length > file.size() - place.offset)
    throw input_error("cannot read {}: it has {} bytes, expected {} from {}", place.path, file.size(),
                      place.length, place.offset);
  file.read(place.offset, place.length, to);
}

}  // namespace halftone::onnx
