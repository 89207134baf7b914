#include "data/safetensors.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "data/names.h"

namespace halftone::data {
namespace {

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

Array array_of(const SafetensorsEntry& entry, const std::shared_ptr<const Bytes>& data,
               const std::string& path) {
  Array array;
  array.name = fmt::format("{}, {}", path, entry.name);
  array.type = type_of(entry.dtype, array.name);
  array.shape = entry.shape;
  const int64_t bytes = array_bytes(array.type, array.shape, array.name);
  if (entry.end - entry.begin != bytes)
    throw input_error(
        "{}: damaged safetensors file: the shape {} takes {} bytes, but its offsets are {} to {}", array.name,
        to_string(array.shape), bytes, entry.begin, entry.end);
  array.bytes = part_of(data, entry.begin, bytes, array.name);
  return array;
}

struct Contents {
  std::vector<std::string> names;
  std::vector<Array> arrays;
};

Contents read_all(const std::string& path, FileUse use = FileUse::kKeptOpen) {
  const SafetensorsFile file = read_safetensors_file(path, use);
  Contents contents;
  for (const SafetensorsEntry& entry : file.header.entries) {
    contents.names.push_back(entry.name);
    contents.arrays.push_back(array_of(entry, file.data, path));
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

SafetensorsFile read_safetensors_file(const std::string& path, FileUse use) {
  const std::shared_ptr<const Bytes> file = file_bytes(path, use);
  if (file->size() < 8)
    throw input_error("{}: damaged safetensors file: it has {} bytes", path, file->size());
  const uint64_t length = header_bytes(*file);
  if (length > kMostSafetensorsHeaderBytes || length > static_cast<uint64_t>(file->size() - 8))
    throw input_error("{}: damaged safetensors file: a header of {} bytes does not fit its {} bytes", path,
                      length, file->size());
  const auto header_size = static_cast<int64_t>(length);
  const int64_t data_bytes = file->size() - 8 - header_size;
  SafetensorsFile read;
  read.header = parse_safetensors_header(read_part(*file, 8, header_size), data_bytes, path);
  read.data = part_of(file, 8 + header_size, data_bytes, path);
  return read;
}

std::vector<Array> read_safetensors(const std::string& path) {
  return read_all(path).arrays;
}

std::vector<std::string> safetensors_splits(const std::string& path) {
  return splits_in_names(read_all(path).names);
}

NamedArrays safetensors_arrays(const std::string& path, FileUse use) {
  const auto contents = std::make_shared<const Contents>(read_all(path, use));
  const auto take = [contents](const std::string& key) -> const Array& {
    const auto at = std::find(contents->names.begin(), contents->names.end(), key) - contents->names.begin();
    return contents->arrays.at(static_cast<size_t>(at));
  };
  return {path, contents->names,
          [take](const std::string& key) {
            return std::optional(ArrayHeader{key, key, take(key).type, take(key).shape});
          },
          [take](const std::string& key) { return take(key); }};
}

std::unique_ptr<Dataset> open_safetensors(const Spec& spec, const OpenOptions& options) {
  const NamedArrays all = safetensors_arrays(spec.path);
  if (options.choose_arrays)
    return make_fields_dataset("safetensors", spec.path,
                               arrays_of_split(all.names, spec, options, all.header), all.read, options);
  const ArrayNames names = choose_arrays(all.names, spec, options, [&](const std::string& key) {
    const Shape shape = all.header(key)->shape;
    return shape.empty() ? -1 : shape[0];
  });
  std::optional<Array> labels;
  if (!names.y.empty()) labels = all.read(names.y);
  return make_array_dataset("safetensors", fmt::format("{}, {}", spec.path, names.x), all.read(names.x),
                            std::move(labels), options);
}

}  // namespace halftone::data
