#include "onnx/external_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>

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

std::vector<std::string> shared_places(const Model& model) {
  const Contents& contents = model.contents();
  struct Stored {
    std::string path, location, name;
    int64_t begin, end;
  };
  std::vector<Stored> places;
  const auto add_place = [&](const ::onnx::TensorProto& t) {
    // What separated() made is no name of the file.
    if (!is_external(t) || t.name().empty() || contents.origins.count(t.name()) != 0) return;
    const int64_t bytes = elements(checked_shape(t, contents.file)) * raw_bytes(t.data_type());
    const ExternalPlace place = external_place(t, contents.file.path, bytes);
    if (bytes > 0)
      places.push_back({place.path, place.location, t.name(), place.offset, place.offset + bytes});
  };
  for (const auto& t : contents.proto.graph().initializer()) add_place(t);
  std::stable_sort(places.begin(), places.end(), [](const Stored& a, const Stored& b) {
    return std::tie(a.path, a.begin) < std::tie(b.path, b.begin);
  });
  std::vector<std::string> lines;
  for (size_t i = 0; i < places.size();) {
    int64_t end = places[i].end;
    bool same = true;
    std::string names = "'" + places[i].name + "'";
    size_t next = i + 1;
    for (; next < places.size() && places[next].path == places[i].path && places[next].begin < end; ++next) {
      same = same && places[next].begin == places[i].begin && places[next].end == places[i].end;
      end = std::max(end, places[next].end);
      names += ", '" + places[next].name + "'";
    }
    if (next > i + 1)
      lines.push_back(fmt::format("{} {} of {} ({} to {}): separate tensors, each with elements of its own",
                                  names, same ? "are the same bytes" : "overlap in bytes", places[i].location,
                                  places[i].begin, end - 1));
    i = next;
  }
  return lines;
}

}  // namespace halftone::onnx
