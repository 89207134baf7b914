#include "data/idx.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/listing.h"
#include "data/inflate.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostHeaderBytes = 4 + 4 * 255;

struct Header {
  Element type = Element::kU8;
  Shape shape;
  int64_t bytes = 0;  // of the header
};

Header parse_header(const std::string& prefix, const std::string& path) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(prefix[i]); };
  if (prefix.size() < 4 || byte(0) != 0 || byte(1) != 0)
    throw input_error("{}: not an IDX file (it begins with something else than two zeros, a type and a rank)",
                      path);
  Header header;
  switch (byte(2)) {
    case 0x08:
      header.type = Element::kU8;
      break;
    case 0x09:
      header.type = Element::kI8;
      break;
    case 0x0B:
      header.type = Element::kI16;
      break;
    case 0x0C:
      header.type = Element::kI32;
      break;
    case 0x0D:
      header.type = Element::kF32;
      break;
    case 0x0E:
      header.type = Element::kF64;
      break;
    default:
      throw input_error("{}: damaged IDX file: element type 0x{:02x} does not exist", path, byte(2));
  }
  const size_t rank = byte(3);
  header.bytes = static_cast<int64_t>(4 + 4 * rank);
  if (prefix.size() < static_cast<size_t>(header.bytes))
    throw input_error("{}: damaged IDX file: it ends within its header of {} dimensions", path, rank);
  for (size_t i = 0; i < rank; ++i) {
    int64_t d = 0;
    for (size_t k = 0; k < 4; ++k) d = d << 8 | byte(4 + 4 * i + k);
    header.shape.push_back(d);
  }
  return header;
}

bool is_images_name(const std::string& name) {
  return name.find("images") != std::string::npos;
}

bool has_idx_name(const std::string& name) {
  return name.find("idx") != std::string::npos && (name.ends_with("ubyte") || name.ends_with("ubyte.gz"));
}

// "…train-images…" is train, "…t10k-images…" test, anything else has no split.
std::string split_of(const std::string& name) {
  const std::string before = name.substr(0, name.find("images"));
  for (const char* word : {"train", "t10k", "test", "val"})
    if (before.find(word) != std::string::npos) return canonical_split(word);
  return "";
}

std::vector<std::string> image_files(const std::string& folder) {
  std::vector<std::string> names = names_in(folder);
  std::erase_if(names, [](const std::string& name) { return !has_idx_name(name) || !is_images_name(name); });
  return names;
}

// The labels file of an images file: "labels" for "images", idx1 for idx3; with or without .gz. Empty if
// there is none.
std::string labels_file(const std::string& images) {
  const fs::path path(images);
  std::string name = path.filename().string();
  const size_t at = name.rfind("images");
  if (at == std::string::npos) return "";
  name.replace(at, 6, "labels");
  for (const char* from : {"idx2", "idx3", "idx4"}) {
    const size_t rank = name.find(from);
    if (rank != std::string::npos) name.replace(rank, 4, "idx1");
  }
  std::vector<std::string> tries = {name};
  if (name.ends_with(".gz")) {
    tries.push_back(name.substr(0, name.size() - 3));
  } else {
    tries.push_back(name + ".gz");
  }
  std::error_code ignored;
  for (const std::string& t : tries)
    if (fs::is_regular_file(path.parent_path() / t, ignored)) return (path.parent_path() / t).string();
  return "";
}

std::unique_ptr<Dataset> open_images(const std::string& images, const OpenOptions& options) {
  Array x = read_idx(images);
  if (!options.labels) return make_array_dataset("IDX", images, std::move(x), std::nullopt, options);
  const std::string labels = labels_file(images);
  if (labels.empty())
    throw input_error("{}: no labels file stands beside it (the same name with \"labels\" for \"images\")",
                      images);
  Array y = read_idx(labels);
  if (y.shape.size() != 1)
    throw input_error("{}: labels are a list of numbers, but its shape is {}", labels, to_string(y.shape));
  return make_array_dataset("IDX", images, std::move(x), std::move(y), options);
}

}  // namespace

bool is_idx_file(const std::string& path) {
  const std::shared_ptr<const Bytes> file = file_bytes(path);
  const std::string start = read_part(*file, 0, std::min<int64_t>(file->size(), 4));
  if (start.size() < 4) return false;
  if (start.starts_with("\x1F\x8B")) return has_idx_name(fs::path(path).filename().string());
  return start[0] == 0 && start[1] == 0 && start[2] >= 0x08 && start[2] <= 0x0E && start[3] > 0;
}

std::vector<std::string> idx_splits(const std::string& folder) {
  std::vector<std::string> splits;
  for (const std::string& name : image_files(folder)) {
    const std::string split = split_of(name).empty() ? "all" : split_of(name);
    if (std::find(splits.begin(), splits.end(), split) == splits.end()) splits.push_back(split);
  }
  return splits;
}

std::unique_ptr<Dataset> open_idx(const Spec& spec, const OpenOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(spec.path, ignored)) {
    if (!spec.split.empty())
      throw input_error("{} is one file, so there is no [{}] in it", spec.path, spec.split);
    return open_images(spec.path, options);
  }
  const std::vector<std::string> splits = idx_splits(spec.path);
  const bool only_all = splits.size() == 1 && splits[0] == "all";
  const std::string split =
      only_all && spec.split.empty() ? "all" : choose_split(spec, options.splits, splits);
  std::string found;
  for (const std::string& name : image_files(spec.path)) {
    if (split_of(name) != (split == "all" ? "" : split)) continue;
    // The same file with and without .gz is one set.
    if (found == name + ".gz" || found + ".gz" == name) continue;
    if (!found.empty())
      throw input_error("{} has two sets for {}, {} and {}; name the file", spec.path, split, found, name);
    found = name;
  }
  return open_images((fs::path(spec.path) / found).string(), options);
}

Array read_idx(const std::string& path) {
  const auto total = [&](const std::string& prefix) {
    const Header header = parse_header(prefix, path);
    const int64_t data = array_bytes(header.type, header.shape, path);
    int64_t all = 0;
    if (__builtin_add_overflow(header.bytes, data, &all))
      throw input_error("{}: damaged IDX file: no valid size", path);
    return all;
  };
  const std::shared_ptr<const Bytes> bytes = open_maybe_gzip(path, kMostHeaderBytes, total);
  const std::string prefix = read_part(*bytes, 0, std::min(bytes->size(), kMostHeaderBytes));
  const int64_t all = total(prefix);
  if (all != bytes->size())
    throw input_error("{}: damaged IDX file: its dimensions say {} bytes, but it has {}", path, all,
                      bytes->size());
  Header header = parse_header(prefix, path);
  Array array;
  array.type = header.type;
  array.big_endian = true;
  array.shape = std::move(header.shape);
  array.bytes = part_of(bytes, header.bytes, all - header.bytes, path);
  array.name = path;
  return array;
}

}  // namespace halftone::data
