#include "data/array_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/listing.h"
#include "data/array.h"
#include "data/folder.h"
#include "data/image_folder.h"
#include "data/names.h"
#include "data/npy.h"
#include "data/safetensors.h"
#include "data/sized_arrays.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

// What a folder holds, in byte order.
struct ArrayFiles {
  std::vector<std::string> npz, safetensors, npy_folders, npy;
  int64_t others = 0;

  bool none() const { return npz.empty() && safetensors.empty() && npy_folders.empty() && npy.empty(); }
};

ArrayFiles array_files_in(const std::string& folder) {
  ArrayFiles found;
  for (const std::string& name : names_in(folder)) {
    if (name.starts_with('.')) continue;
    const std::string path = (fs::path(folder) / name).string();
    const std::string ending = fs::path(name).extension().string();
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      if (is_npy_folder(path)) {
        found.npy_folders.push_back(path);
      } else {
        ++found.others;
      }
    } else if (ending == ".npz") {
      found.npz.push_back(path);
    } else if (ending == ".safetensors") {
      found.safetensors.push_back(path);
    } else if (ending == ".npy") {
      found.npy.push_back(path);
    } else {
      ++found.others;
    }
  }
  return found;
}

// The folders of splits; none where there are files beside them, or where they hold no arrays.
std::vector<std::string> split_folders(const std::string& folder) {
  const ArrayFiles files = array_files_in(folder);
  if (!files.npz.empty() || !files.safetensors.empty()) return {};
  for (const std::string& name : folders_in(folder))
    if (!is_split_name(name) || array_files_in((fs::path(folder) / name).string()).none()) return {};
  return folder_splits(folder);
}

// The files of one kind.
struct ArrayFileList {
  std::string kind;  // of data
  NamedArrays (*open)(const std::string& path, FileUse use) = nullptr;
  std::vector<std::string> paths;
  int64_t left_out = 0;
};

ArrayFileList list_of(const std::string& folder) {
  ArrayFiles found = array_files_in(folder);
  std::vector<fs::path> kinds;  // a file of each
  for (const auto* files : {&found.npz, &found.safetensors, &found.npy})
    if (!files->empty()) kinds.emplace_back(files->front());
  if (kinds.size() > 1)
    throw input_error(
        "{}: it holds {} and {} files ({}, {}); expected files of one kind, which are one data set", folder,
        kinds[0].extension().string(), kinds[1].extension().string(), kinds[0].string(), kinds[1].string());
  const auto beside = static_cast<int64_t>(found.npy_folders.size());
  if (!found.npz.empty()) return {".npz files", npz_arrays, std::move(found.npz), found.others + beside};
  if (!found.safetensors.empty())
    return {"safetensors files", safetensors_arrays, std::move(found.safetensors), found.others + beside};
  if (!found.npy.empty()) return {".npy", npy_arrays, {folder}, found.others + beside};
  return {"folders of .npy", npy_arrays, std::move(found.npy_folders), found.others};
}

// Of a set: more files are opened for each read, so that a process does not run out of descriptors.
constexpr size_t kMostOpenFiles = 32;

// In a folder of .npy each array is a file of its own.
FileUse use_of(const ArrayFileList& list) {
  size_t files = list.paths.size();
  if (list.open == npy_arrays && files > 0)
    files *= std::max<size_t>(npy_arrays(list.paths[0]).names.size(), 1);
  return files > kMostOpenFiles ? FileUse::kOpenedToRead : FileUse::kKeptOpen;
}

Shape sample_shape(const ArrayHeader& array) {
  return array.shape.empty() ? Shape{} : Shape(array.shape.begin() + 1, array.shape.end());
}

// Elements of a sample. Error: none, or more than there can be.
int64_t sample_elements(const std::string& file, const ArrayHeader& array) {
  const std::string name = fmt::format("{}, {}", file, array.stored);
  array_bytes(array.type, array.shape, name);
  return array.shape.empty() || array.shape[0] == 0 ? 0 : elements(array.shape) / array.shape[0];
}

// A file with the arrays that are read.
struct Member {
  const NamedArrays* file = nullptr;
  std::vector<ArrayHeader> arrays;  // of the split that is read; their names are the same in all files

  const ArrayHeader* find(const std::string& name) const {
    const auto found =
        std::find_if(arrays.begin(), arrays.end(), [&](const ArrayHeader& a) { return a.name == name; });
    return found == arrays.end() ? nullptr : &*found;
  }
};

Member member_of(const NamedArrays& file, const std::string& split, const OpenOptions& options) {
  Spec spec;
  spec.path = file.path;
  spec.split = split;
  Member member{&file, {}};
  if (options.choose_arrays) {
    member.arrays = arrays_of_split(file.names, spec, options, file.header);
    return member;
  }
  const ArrayNames names = choose_arrays(file.names, spec, options, [&](const std::string& name) {
    const auto header = file.header(name);
    return header && !header->shape.empty() ? header->shape[0] : -1;
  });
  const auto add = [&](const std::string& stored, const char* name) {
    if (stored.empty()) return;
    std::optional<ArrayHeader> header = file.header(stored);
    if (!header) {
      file.read(stored);  // which says why it cannot be
      throw input_error("{}, {}: it cannot be read", file.path, stored);
    }
    member.arrays.push_back({name, stored, header->type, header->shape});
  };
  add(names.x, "samples");
  add(names.y, "labels");
  return member;
}

class ArrayFilesReader {
 public:
  ArrayFilesReader(std::string folder, const std::string& split, const OpenOptions& options)
      : folder_(std::move(folder)), options_(options), list_(list_of(folder_)) {
    const FileUse use = use_of(list_);
    for (const std::string& path : list_.paths) files_.push_back(list_.open(path, use));
    for (const NamedArrays& file : files_) members_.push_back(member_of(file, split, options));
  }

  std::unique_ptr<Dataset> open() {
    const Member& first = largest();
    if (options_.choose_arrays) {
      choice_ = options_.choose_arrays(first.arrays, folder_);
    } else {
      choice_.x = first.arrays.at(0).stored;
      if (first.arrays.size() > 1) choice_.y = first.arrays[1].stored;
    }
    std::vector<std::string> stored{choice_.x, choice_.y};
    for (const ArrayChoice::More& more : choice_.more) stored.push_back(more.stored);
    for (const std::string& name : stored)
      for (const ArrayHeader& array : first.arrays)
        if (!name.empty() && array.stored == name &&
            std::find(names_.begin(), names_.end(), array.name) == names_.end())
          names_.push_back(array.name);
    for (const Member& member : members_) check(member, first);
    std::vector<SizeGroup> groups;
    for (std::vector<const Member*>& same : grouped(first))
      groups.push_back(group_of(std::move(same), first));
    std::string kind = files_.size() > 1 ? fmt::format("{} {}", files_.size(), list_.kind) : list_.kind;
    if (list_.left_out > 0)
      kind += fmt::format("; {} other {} of the folder not read", list_.left_out,
                          list_.left_out == 1 ? "entry" : "entries");
    return make_sized_dataset(kind, folder_, choice_, std::move(groups), options_);
  }

 private:
  // Whose samples have the most elements. All files are asked for the arrays of that one.
  const Member& largest() const {
    const Member* most = nullptr;
    int64_t elements = -1;
    for (const Member& member : members_) {
      int64_t sum = 0;
      for (const ArrayHeader& array : member.arrays)
        if (__builtin_add_overflow(sum, sample_elements(member.file->path, array), &sum))
          throw input_error("{}: its samples are too large", member.file->path);
      if (sum <= elements) continue;
      elements = sum;
      most = &member;
    }
    HT_ASSERT(most != nullptr);
    return *most;
  }

  void check(const Member& member, const Member& first) const {
    const std::string& path = member.file->path;
    const ArrayHeader* counted = nullptr;
    for (const std::string& name : names_) {
      const ArrayHeader& wanted = *first.find(name);
      const ArrayHeader* array = member.find(name);
      const auto refuse = [&](const std::string& found) {
        throw input_error(
            "{}: {}; {} has the array {} of {} {}. Expected the same arrays in all files of {}, whose "
            "samples may have "
            "other sizes",
            path, found, first.file->path, wanted.stored, name_of(wanted.type), to_string(wanted.shape),
            folder_);
      };
      if (array == nullptr) {
        std::vector<std::string> there;
        for (const ArrayHeader& other : member.arrays) there.push_back(other.name);
        refuse(fmt::format("it has no array {}, but {}", name,
                           there.empty() ? "none" : fmt::format("{}", fmt::join(there, ", "))));
      }
      if (array->type != wanted.type || array->shape.size() != wanted.shape.size())
        refuse(fmt::format("its array {} is of {} {}", array->stored, name_of(array->type),
                           to_string(array->shape)));
      if (array->shape.empty())
        throw input_error("{}, {}: a single number is not a set of samples", path, array->stored);
      if (counted == nullptr) counted = array;
      if (array->shape[0] != counted->shape[0])
        throw input_error("{}: {} has {} samples, but {} has {}", path, array->stored, array->shape[0],
                          counted->stored, counted->shape[0]);
      if (array->shape[0] == 0) throw input_error("{}, {}: it holds no samples", path, array->stored);
      if (sample_elements(path, *array) == 0)
        throw input_error("{}, {}: samples of shape {} are empty", path, array->stored,
                          to_string(sample_shape(*array)));
    }
  }

  std::vector<Shape> sizes_of(const Member& member) const {
    std::vector<Shape> shapes;
    for (const std::string& name : names_) shapes.push_back(sample_shape(*member.find(name)));
    return shapes;
  }

  // Files of the same sizes; `first`'s are in front, then the larger ones.
  std::vector<std::vector<const Member*>> grouped(const Member& first) const {
    struct Group {
      std::vector<Shape> sizes;
      int64_t elements = 0;
      std::vector<const Member*> members;
    };
    std::vector<Group> groups;
    for (const Member& member : members_) {
      std::vector<Shape> sizes = sizes_of(member);
      auto known =
          std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.sizes == sizes; });
      if (known == groups.end()) {
        known = groups.insert(groups.end(), Group{sizes, 0, {}});
        for (const Shape& shape : sizes) known->elements += elements(shape);
      }
      known->members.push_back(&member);
    }
    if (groups.size() > kMostSizeClasses)
      throw input_error(
          "{}: its samples have {} different sizes, and each is a network of its own to compile; expected at "
          "most {}: pad "
          "samples of about the same size to one (with a mask, where the network has an input for it)",
          folder_, groups.size(), kMostSizeClasses);
    const std::vector<Shape> of_first = sizes_of(first);
    std::stable_sort(groups.begin(), groups.end(), [&](const Group& a, const Group& b) {
      const bool a_first = a.sizes == of_first;
      const bool b_first = b.sizes == of_first;
      return a_first != b_first ? a_first : a.elements > b.elements;
    });
    std::vector<std::vector<const Member*>> out;
    for (Group& group : groups) out.push_back(std::move(group.members));
    return out;
  }

  SizeGroup group_of(std::vector<const Member*> members, const Member& first) const {
    std::map<std::string, std::string> names;  // by what they are called in the first file
    for (const ArrayHeader& array : first.arrays) names.emplace(array.stored, array.name);
    std::vector<std::pair<std::string, int64_t>> places;
    SizeGroup group;
    std::vector<std::pair<std::vector<ArrayHeader>, std::function<Array(const std::string&)>>> files;
    for (const Member* member : members) {
      const int64_t samples = member->find(names_.at(0))->shape[0];
      places.emplace_back(member->file->path, samples);
      group.samples += samples;
      files.emplace_back(member->arrays, member->file->read);
    }
    group.read = [files = std::move(files), names = std::move(names)](const std::string& stored) {
      std::vector<Array> arrays;
      for (const auto& [headers, read] : files)
        for (const ArrayHeader& header : headers)
          if (header.name == names.at(stored)) arrays.push_back(read(header.stored));
      return joined(std::move(arrays));
    };
    group.name = [places = std::move(places)](int64_t sample) {
      size_t file = 0;
      while (sample >= places.at(file).second) sample -= places[file++].second;
      return fmt::format("{}, sample {}", places[file].first, sample);
    };
    return group;
  }

  std::string folder_;
  const OpenOptions& options_;
  ArrayFileList list_;
  std::vector<NamedArrays> files_;
  std::vector<Member> members_;
  ArrayChoice choice_;
  std::vector<std::string> names_;  // of the arrays that are read
};

}  // namespace

bool is_folder_of_arrays(const std::string& path) {
  const ArrayFiles files = array_files_in(path);
  return !files.npz.empty() || !files.safetensors.empty() || !files.npy_folders.empty() ||
         !split_folders(path).empty();
}

std::vector<std::string> arrays_beside_npy(const std::string& folder) {
  const ArrayFiles files = array_files_in(folder);
  std::vector<std::string> names;
  for (const auto* kind : {&files.npz, &files.safetensors, &files.npy_folders})
    for (const std::string& path : *kind) names.push_back(fs::path(path).filename().string());
  return names;
}

std::vector<std::string> array_files_splits(const std::string& path) {
  std::vector<std::string> splits = split_folders(path);
  if (!splits.empty()) return splits;
  const ArrayFileList list = list_of(path);
  if (list.paths.empty()) return splits;
  return splits_in_names(list.open(list.paths.front(), FileUse::kKeptOpen).names);
}

std::unique_ptr<Dataset> open_array_files(const Spec& spec, const OpenOptions& options) {
  const std::vector<std::string> splits = split_folders(spec.path);
  if (splits.empty()) return ArrayFilesReader(spec.path, spec.split, options).open();
  const std::string split = choose_split(spec, options.splits, splits);
  for (const std::string& name : folders_in(spec.path))
    if (canonical_split(name) == split)
      return ArrayFilesReader((fs::path(spec.path) / name).string(), "", options).open();
  throw input_error("{} has no split {}", spec.path, split);
}

}  // namespace halftone::data
