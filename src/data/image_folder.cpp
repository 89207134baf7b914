#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "data/geometry.h"
#include "data/image.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

// Names of the folders in `folder`, hidden ones left out, in byte order.
std::vector<std::string> folders_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with('.') && it->is_directory(error)) names.push_back(name);
  }
  if (error) throw input_error("cannot list the folder {}: {}", folder, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// Images in `folder` and, if `deep`, below it: paths relative to it, in byte order. Adds the other files to
// `others`.
std::vector<std::string> images_in(const std::string& folder, bool deep, int64_t& others) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, fs::directory_options::follow_directory_symlink, error);
  for (const fs::recursive_directory_iterator end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) {
      // Links may go in circles; no data set is nested deeper.
      if (!deep || it.depth() >= 16) it.disable_recursion_pending();
    } else if (has_image_name(it->path().filename().string())) {
      names.push_back(it->path().lexically_relative(folder).string());
    } else {
      ++others;
    }
  }
  if (error) throw input_error("cannot list the folder {}: {}", folder, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

class ImageFolder final : public Dataset {
 public:
  ImageFolder(const std::string& root, const DataOptions& options) : root_(root) {
    info_.source = root;
    classes_ = folders_in(root);
    int64_t others = 0;
    if (classes_.empty()) {
      info_.kind = "folder of images";
      if (options.labels == LabelChoice::kClass || options.labels == LabelChoice::kTarget)
        throw input_error("{}: there are images, but no class folders, so there are no labels", root);
      for (std::string& file : images_in(root, false, others)) files_.push_back({std::move(file), 0});
    } else {
      info_.kind = "class folders of images";
      if (options.labels == LabelChoice::kTarget)
        throw input_error("{}: class folders give class labels, not targets", root);
      if (options.labels != LabelChoice::kNone) set_classes(options);
      add_classes(options, others);
    }
    if (files_.empty()) throw input_error("{}: no image (.jpg, .jpeg, .png) was found in it", root);
    if (others > 0) info_.notes.push_back(fmt::format("{} files that are not images are ignored", others));
    resolve_image_shape(first_shape(options), options.sample_shape, root, info_);
    const int64_t channels = info_.geometry[0];
    if (channels != 1 && channels != 3)
      throw input_error("{}: the network wants {} channels; images have 1 or 3", root, channels);
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  std::string name(int64_t index) const override { return path_of(files_.at(static_cast<size_t>(index))); }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    const File& file = files_[static_cast<size_t>(index)];
    const std::string path = path_of(file);
    Image image;
    image.pixels = std::move(sample.buffer);
    decode_image(read_file(path, kMostFileBytes), info_.geometry[0], path, image);
    sample.buffer = std::move(image.pixels);
    sample.pixels = {sample.buffer.data(),         image.channels, image.height, image.width, 1,
                     image.width * image.channels, image.channels};
    sample.label = info_.labels == LabelKind::kClass ? file.class_index : -1;
    sample.target.clear();
  }

 private:
  struct File {
    std::string path;  // below its class folder
    int32_t class_index;
  };
  static constexpr int64_t kMostFileBytes = int64_t{1} << 30;

  std::string path_of(const File& file) const {
    fs::path path(root_);
    if (!classes_.empty()) path /= classes_[static_cast<size_t>(file.class_index)];
    return (path / file.path).string();
  }

  void set_classes(const DataOptions& options) {
    const auto count = static_cast<int64_t>(classes_.size());
    if (options.classes > 0 && count > options.classes)
      throw input_error("{}: {} class folders, but the network has {} classes", root_, count,
                        options.classes);
    info_.labels = LabelKind::kClass;
    info_.classes = options.classes > 0 ? options.classes : count;
    info_.class_names = classes_;
  }

  // Mixes the classes in proportion (dataset.h).
  void add_classes(const DataOptions& options, int64_t& others) {
    struct Place {
      int64_t rank;
      int64_t count;
      int32_t class_index;
    };
    std::vector<std::vector<std::string>> names(classes_.size());
    std::vector<Place> places;
    for (size_t c = 0; c < classes_.size(); ++c) {
      const std::string folder = (fs::path(root_) / classes_[c]).string();
      names[c] = images_in(folder, true, others);
      if (names[c].empty()) {
        if (!options.skip_bad)
          throw input_error(
              "{}: the class folder holds no image (.jpg, .jpeg, .png); remove it, or leave it out with --skip-bad", folder);
        info_.notes.push_back(fmt::format("the class {} is empty", classes_[c]));
      }
      const auto count = static_cast<int64_t>(names[c].size());
      for (int64_t r = 0; r < count; ++r) places.push_back({r, count, static_cast<int32_t>(c)});
    }
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
      const auto left = static_cast<__int128>(2 * a.rank + 1) * b.count;
      const auto right = static_cast<__int128>(2 * b.rank + 1) * a.count;
      return left != right ? left < right : a.class_index < b.class_index;
    });
    files_.reserve(places.size());
    for (const Place& p : places)
      files_.push_back(
          {std::move(names[static_cast<size_t>(p.class_index)][static_cast<size_t>(p.rank)]), p.class_index});
  }

  // C,H,W of the first image; with skip_bad the first that can be read.
  Shape first_shape(const DataOptions& options) const {
    for (const File& file : files_) {
      const std::string path = path_of(file);
      try {
        const ImageHeader header = read_image_header(read_file(path, kMostFileBytes), path);
        return {header.colour ? 3 : 1, header.height, header.width};
      } catch (const Error&) {
        if (!options.skip_bad) throw;
      }
    }
    throw input_error("{}: none of its {} images can be read", root_, files_.size());
  }

  std::string root_;
  std::vector<std::string> classes_;  // folder names, also when labels are not wanted
  std::vector<File> files_;
};

}  // namespace

bool has_image_name(const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return false;
  std::string ending = path.substr(dot);
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

std::vector<std::string> folder_splits(const std::string& folder) {
  std::vector<std::string> splits;
  const std::vector<std::string> names = folders_in(folder);
  for (const std::string& name : names) {
    if (!is_split_name(name)) return {};
    const std::string split = canonical_split(name);
    if (std::find(splits.begin(), splits.end(), split) != splits.end())
      throw input_error("{} has several folders for the split {}; name one of them", folder, split);
    splits.push_back(split);
  }
  return splits;
}

std::unique_ptr<Dataset> open_image_folder(const Spec& spec, const DataOptions& options) {
  const std::vector<std::string> splits = folder_splits(spec.path);
  if (splits.empty()) {
    if (!spec.split.empty()) choose_split(spec, options.splits, splits);
    return std::make_unique<ImageFolder>(spec.path, options);
  }
  const std::string split = choose_split(spec, options.splits, splits);
  for (const std::string& name : folders_in(spec.path))
    if (canonical_split(name) == split)
      return std::make_unique<ImageFolder>((fs::path(spec.path) / name).string(), options);
  throw input_error("{} has no split {}", spec.path, split);
}

}  // namespace halftone::data
