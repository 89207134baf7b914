#include "data/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/names.h"

namespace halftone::data {
namespace {

// The official reader's bound.
constexpr uint64_t kMostHeaderBytes = 100'000'000;
// {name: {"dtype": …, "shape": […], "data_offsets": […]}} is three deep.
constexpr int kMostDepth = 3;
constexpr int64_t kMostDimensions = 64;

uint64_t header_bytes(const Bytes& file) {
  unsigned char raw[8];
  file.read(0, 8, raw);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | raw[i];
  return length;
}

Element type_of(const std::string& dtype, const std::string& name) {
  struct Name {
    const char* text;
    Element type;
  };
  constexpr Name kNames[] = {{"BOOL", Element::kBool}, {"U8", Element::kU8},     {"I8", Element::kI8},
                             {"U16", Element::kU16},   {"I16", Element::kI16},   {"U32", Element::kU32},
                             {"I32", Element::kI32},   {"U64", Element::kU64},   {"I64", Element::kI64},
                             {"F16", Element::kF16},   {"BF16", Element::kBf16}, {"F32", Element::kF32},
                             {"F64", Element::kF64}};
  for (const Name& n : kNames)
    if (dtype == n.text) return n.type;
  throw input_error("{}: elements of type {} are not read", name, dtype);
}

int64_t whole_number(const nlohmann::json& value, const std::string& name) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    throw input_error("{}: damaged safetensors header: a shape or offset is no whole number", name);
  return value.get<int64_t>();
}

Array array_of(const std::string& key, const nlohmann::json& entry, const std::shared_ptr<const Bytes>& data,
               const std::string& path) {
  const std::string name = fmt::format("{}, {}", path, key);
  const auto field = [&](const char* what) -> const nlohmann::json& {
    if (entry.is_object()) {
      const auto it = entry.find(what);
      if (it != entry.end()) return *it;
    }
    throw input_error("{}: damaged safetensors header: no {}", name, what);
  };
  const nlohmann::json& dtype = field("dtype");
  const nlohmann::json& shape = field("shape");
  const nlohmann::json& offsets = field("data_offsets");
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2)
    throw input_error("{}: damaged safetensors header: dtype, shape or data_offsets is of another kind",
                      name);
  Array array;
  array.name = name;
  array.type = type_of(dtype.get<std::string>(), name);
  for (const nlohmann::json& d : shape) array.shape.push_back(whole_number(d, name));
  const int64_t begin = whole_number(offsets[0], name);
  const int64_t end = whole_number(offsets[1], name);
  const int64_t bytes = array_bytes(array.type, array.shape, name);
  if (begin > end || end > data->size() || end - begin != bytes)
    throw input_error(
        "{}: damaged safetensors file: the shape {} takes {} bytes, but its offsets are {} to {} of {}", name,
        to_string(array.shape), bytes, begin, end, data->size());
  array.bytes = part_of(data, begin, bytes, name);
  return array;
}

struct Contents {
  std::vector<std::string> names;
  std::vector<Array> arrays;
};

Contents read_all(const std::string& path) {
  const std::shared_ptr<const Bytes> file = file_bytes(path);
  if (file->size() < 8)
    throw input_error("{}: damaged safetensors file: it has {} bytes", path, file->size());
  const uint64_t length = header_bytes(*file);
  if (length > kMostHeaderBytes || length > static_cast<uint64_t>(file->size() - 8))
    throw input_error("{}: damaged safetensors file: a header of {} bytes does not fit its {} bytes", path,
                      length, file->size());
  const auto header_size = static_cast<int64_t>(length);
  const std::string text = read_part(*file, 8, header_size);
  // Anything deeper is no safetensors header; refusing it early keeps a hostile one from growing a tree.
  bool unfit = false;
  int64_t numbers = 0;  // of the list that is being read
  const auto limit = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::array_start) numbers = 0;
    if (event == nlohmann::json::parse_event_t::value && depth == kMostDepth) ++numbers;
    unfit = unfit || depth > kMostDepth || numbers > kMostDimensions;
    const bool metadata =
        event == nlohmann::json::parse_event_t::key && depth == 1 && parsed == "__metadata__";
    return !unfit && !metadata;
  };
  const nlohmann::json header = nlohmann::json::parse(text, limit, false);
  if (unfit || !header.is_object())
    throw input_error("{}: damaged safetensors file: its header is not the JSON object expected", path);
  const std::shared_ptr<const Bytes> data =
      part_of(file, 8 + header_size, file->size() - 8 - header_size, path);
  Contents contents;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") continue;
    contents.names.push_back(key);
    contents.arrays.push_back(array_of(key, entry, data, path));
  }
  return contents;
}

}  // namespace

bool is_safetensors_file(const std::string& path) {
  const std::shared_ptr<const Bytes> file = file_bytes(path);
  if (file->size() < 10) return false;
  const uint64_t length = header_bytes(*file);
  return length <= static_cast<uint64_t>(file->size() - 8) && read_part(*file, 8, 1) == "{";
}

std::vector<Array> read_safetensors(const std::string& path) {
  return read_all(path).arrays;
}

std::vector<std::string> safetensors_splits(const std::string& path) {
  return splits_in_names(read_all(path).names);
}

NamedArrays safetensors_arrays(const std::string& path) {
  const auto contents = std::make_shared<const Contents>(read_all(path));
  const auto take = [contents](const std::string& key) -> const Array& {
    const auto at = std::find(contents->names.begin(), contents->names.end(), key) - contents->names.begin();
    return contents->arrays.at(static_cast<size_t>(at));
  };
  return {path, contents->names,
          [take](const std::string& key) { return std::optional(ArrayHeader{key, key, take(key).type, take(key).shape}); },
          [take](const std::string& key) { return take(key); }};
}

std::unique_ptr<Dataset> open_safetensors(const Spec& spec, const DataOptions& options) {
  const NamedArrays all = safetensors_arrays(spec.path);
  if (options.choose_arrays)
    return make_fields_dataset("safetensors", spec.path, arrays_of_split(all.names, spec, options, all.header), all.read, options);
  const ArrayNames names = choose_arrays(all.names, spec, options, [&](const std::string& key) {
    const Shape shape = all.header(key)->shape;
    return shape.empty() ? -1 : shape[0];
  });
  std::optional<Array> labels;
  if (!names.y.empty()) labels = all.read(names.y);
  return make_array_dataset("safetensors", fmt::format("{}, {}", spec.path, names.x), all.read(names.x), std::move(labels), options);
}

}  // namespace halftone::data
