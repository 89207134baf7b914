#include "onnx/external_files.h"

#include <filesystem>
#include <map>

#include "onnx/external_data.h"
#include "onnx/model_contents.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {
namespace {

void add(const ::onnx::TensorProto& t, const Contents& contents, std::map<std::string, std::string>& files) {
  const int64_t bytes = elements(checked_shape(t, contents.file)) * raw_bytes(t.data_type());
  const ExternalPlace place = external_place(t, contents.file.path, bytes);
  files.emplace(std::filesystem::path(place.location).lexically_normal().string(), place.path);
}

}  // namespace

std::vector<ExternalFile> external_files(const Model& model) {
  const Contents& contents = model.contents();
  std::map<std::string, std::string> files;
  for_each_external(contents.proto, [&](const auto& t) { add(t, contents, files); });
  std::vector<ExternalFile> out;
  for (auto& [location, path] : files) out.push_back({location, path});
  return out;
}

}  // namespace halftone::onnx
