#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "data/folder.h"
#include "data/image.h"
#include "data/image_files.h"
#include "data/labels.h"
#include "data/text.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

class ImageFolder final : public Dataset {
 public:
  ImageFolder(const std::string& root, const OpenOptions& options) : root_(root) {
    info_.source = root;
    classes_ = folders_in(root);
    ImageWalk walk(root, options.skip_bad);
    if (classes_.empty() || !options.labels) {
      info_.kind = "folder of images";
      add_all(walk);
    } else {
      info_.kind = "class folders of images";
      add_classes(options, walk);
      note_classes(walk);
    }
    if (files_.empty()) throw input_error("{}: no image ({}) was found in it", root, image_kinds());
    if (!walk.left_out().empty())
      info_.notes.push_back("left out, because they are no samples: " + walk.left_out());
    if (walk.other_images() > 0)
      info_.notes.push_back(
          fmt::format("warning: {}: {} image files of other kinds are left out ({}); {} are read", root,
                      walk.other_images(), walk.other_kinds(), image_kinds()));
    prepare(options);
    if (!classes_.empty()) set_labels(options);
  }

  // These files, which have no labels.
  ImageFolder(const std::string& source, const std::vector<std::string>& paths, const OpenOptions& options) {
    info_.source = source;
    info_.kind = "list of images";
    for (const std::string& path : paths) files_.push_back({path, 0});
    HT_ASSERT(!files_.empty(), "{}", source);
    prepare(options);
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  std::string name(int64_t index) const override { return path_of(files_.at(static_cast<size_t>(index))); }
  std::optional<int32_t> class_of(int64_t index) const override { return labels_.class_of(index); }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    images_.read(index, sample);
    labels_.get(index, sample);
  }

 private:
  struct File {
    std::string path;     // below its class folder
    int32_t class_index;  // of its folder in classes_
  };

  std::string path_of(const File& file) const {
    fs::path path(root_);
    if (!classes_.empty()) path /= classes_[static_cast<size_t>(file.class_index)];
    return (path / file.path).string();
  }

  // What does not depend on labels, once the files are known.
  void prepare(const OpenOptions& options) {
    images_.open(
        size(), [this](int64_t i) { return path_of(files_[static_cast<size_t>(i)]); }, options, info_);
  }

  // All images in the folder and below it, in the byte order of their paths.
  void add_all(ImageWalk& walk) {
    std::vector<std::string> paths = walk.top_images();
    const std::vector<std::vector<std::string>> below = walk.images_below(classes_);
    for (size_t c = 0; c < classes_.size(); ++c)
      for (const std::string& path : below[c]) paths.push_back(classes_[c] + "/" + path);
    std::sort(paths.begin(), paths.end());
    for (std::string& path : paths) files_.push_back({std::move(path), 0});
    classes_.clear();
  }

  void set_labels(const OpenOptions& options) {
    RawLabels raw;
    raw.kind = LabelForm::Kind::kNames;
    raw.where = root_;
    raw.names = classes_;
    for (const File& file : files_) raw.name_of.push_back(file.class_index);
    labels_ = resolve_labels(
        std::move(raw), options, [this](int64_t i) { return name(i); }, info_);
  }

  // Says what a user may not have meant.
  void note_classes(const ImageWalk& walk) {
    if (!walk.top_images().empty())
      info_.notes.push_back(fmt::format(
          "warning: {}: {} images beside the class folders belong to no class and are left out ({}{})", root_,
          walk.top_images().size(), shown(walk.top_images()[0]),
          walk.top_images().size() > 1 ? ", ..." : ""));
    std::map<std::string, std::string> lower;
    for (const std::string& name : classes_) {
      const auto [other, added] = lower.emplace(lower_case(name), name);
      if (!added)
        info_.notes.push_back(
            fmt::format("warning: {}: {} and {} are two classes, whose names differ in case only", root_,
                        shown(other->second), shown(name)));
    }
    std::set<std::string> below;
    bool directly = false;
    for (const File& file : files_) {
      const size_t slash = file.path.find('/');
      directly = directly || slash == std::string::npos;
      if (slash != std::string::npos)
        below.insert(classes_[static_cast<size_t>(file.class_index)] + "/" + file.path.substr(0, slash));
    }
    if (below.empty()) return;
    // One class cannot be told from others; the folder rather stands above those of the classes.
    if (classes_.size() == 1 && below.size() > 1 && !directly)
      throw input_error(
          "{}: its one class folder, {}, holds no image but {} folders with images ({}, ...); if these are "
          "the classes, "
          "the data is {}",
          root_, shown(classes_[0]), below.size(), shown(*below.begin()),
          (fs::path(root_) / classes_[0]).string());
    info_.notes.push_back(fmt::format("images in folders below a class folder belong to its class: {}{}",
                                      shown(*below.begin()),
                                      below.size() > 1 ? fmt::format(" and {} more", below.size() - 1) : ""));
  }

  // Mixes the classes in proportion (dataset.h).
  void add_classes(const OpenOptions& options, ImageWalk& walk) {
    struct Place {
      int64_t rank;
      int64_t count;
      int32_t class_index;
    };
    std::vector<std::vector<std::string>> names = walk.images_below(classes_);
    std::vector<Place> places;
    for (size_t c = 0; c < classes_.size(); ++c) {
      if (names[c].empty()) {
        if (!options.skip_bad)
          throw input_error(
              "{}: the class folder holds no image ({}){}; remove it, or leave it out with --skip-bad",
              (fs::path(root_) / classes_[c]).string(), image_kinds(), walk.why_empty(c));
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

  std::string root_;
  std::vector<std::string> classes_;  // folder names; empty: without labels
  std::vector<File> files_;
  ImageFiles images_;
  Labels labels_;
};

}  // namespace

namespace {

// Folders right below `folder`: splits, and others.
struct Siblings {
  std::vector<std::string> splits;  // canonical
  std::vector<std::string> others;
};

Siblings siblings_in(const std::string& folder) {
  Siblings found;
  bool train = false, held_out = false;
  std::string twice;
  for (const std::string& name : folders_in(folder)) {
    if (!is_split_name(name)) {
      found.others.push_back(name);
      continue;
    }
    const std::string split = canonical_split(name);
    if (std::find(found.splits.begin(), found.splits.end(), split) != found.splits.end()) twice = split;
    found.splits.push_back(split);
    (split == "train" ? train : held_out) = true;
  }
  // Classes may be called like a split; training data and others beside each other are no classes.
  if (!found.others.empty() && !(train && held_out)) return {};
  if (!twice.empty())
    throw input_error("{} has several folders for the split {}; name one of them", folder, twice);
  return found;
}

}  // namespace

std::vector<std::string> folder_splits(const std::string& folder) {
  return siblings_in(folder).splits;
}

std::vector<std::string> folders_beside_splits(const std::string& folder) {
  return siblings_in(folder).others;
}

std::unique_ptr<Dataset> open_images(const std::string& source, const std::vector<std::string>& paths,
                                     const OpenOptions& options) {
  if (options.labels)
    throw input_error(
        "{}: images that are named one by one have no labels to train or evaluate with; expected class "
        "folders "
        "(`halftone predict` takes images without labels)",
        source);
  return std::make_unique<ImageFolder>(source, paths, options);
}

std::unique_ptr<Dataset> open_image_folder(const Spec& spec, const OpenOptions& options) {
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
