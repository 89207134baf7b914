#include "data/mask_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/folder.h"
#include "data/geometry.h"
#include "data/image_files.h"
#include "data/image_folder.h"
#include "data/labels.h"
#include "data/mask.h"
#include "data/resample.h"
#include "data/text.h"
#include "data/transform.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kImages = "images";
constexpr const char* kMasks = "masks";
constexpr int64_t kMostMaskBytes = int64_t{1} << 30;

std::string joined_path(const std::string& a, const std::string& b) {
  return (fs::path(a) / b).string();
}

bool has_both(const std::string& folder) {
  std::error_code ignored;
  return fs::is_directory(joined_path(folder, kImages), ignored) &&
         fs::is_directory(joined_path(folder, kMasks), ignored);
}

// Where the images and the masks of a split are.
struct MaskPlaces {
  std::string images, masks;
};

std::string split_named(const std::string& folder, const std::string& split) {
  for (const std::string& name : folders_in(folder))
    if (is_split_name(name) && canonical_split(name) == split) return joined_path(folder, name);
  return "";
}

// A path below a folder without the ending of its name.
std::string stem_of(const std::string& path) {
  fs::path stem(path);
  return stem.replace_extension().string();
}

std::vector<std::string> images_in(const std::string& folder, bool skip_bad, std::string* left_out) {
  ImageWalk walk(folder, skip_bad);
  std::vector<std::string> paths = walk.top_images();
  const std::vector<std::string> folders = folders_in(folder);
  const std::vector<std::vector<std::string>> below = walk.images_below(folders);
  for (size_t i = 0; i < folders.size(); ++i)
    for (const std::string& path : below[i]) paths.push_back(folders[i] + "/" + path);
  std::sort(paths.begin(), paths.end());
  if (left_out != nullptr) *left_out = walk.left_out();
  return paths;
}

class MaskFolder final : public Dataset {
 public:
  MaskFolder(const MaskPlaces& places, const std::string& source, const OpenOptions& options)
      : places_(places) {
    info_.source = source;
    info_.kind = kImagesWithMasks;
    std::string left_out;
    paths_ = images_in(places.images, options.skip_bad, &left_out);
    if (paths_.empty()) throw input_error("{}: no image ({}) was found in it", places.images, image_kinds());
    if (!left_out.empty()) info_.notes.push_back("left out, because they are no samples: " + left_out);
    images_.open(
        size(), [this](int64_t i) { return joined_path(places_.images, paths_[static_cast<size_t>(i)]); },
        options, info_, /*whole=*/options.labels);
    if (!options.labels) return;
    info_.files = false;  // a sample is two of them, and both are in the run's fingerprint
    find_masks(options);
    read_as_positions(options);
  }

  int64_t size() const override { return static_cast<int64_t>(paths_.size()); }
  std::string name(int64_t index) const override { return images_.path(index); }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    images_.read(index, sample);
    sample.label = -1;
    sample.target.clear();
    sample.labels.clear();
    if (masks_.empty()) return;
    const int64_t height = sample.pixels.height, width = sample.pixels.width;
    const Cut cut = cut_of(height, width);
    resize(cut, sample);
    read_mask(index, height, width, cut, sample);
  }

 private:
  // How a picture becomes one of the network's size: it is scaled, and the middle is cut out.
  struct Cut {
    int64_t height, width;  // scaled
    int64_t top, left;
  };
  Cut cut_of(int64_t height, int64_t width) const {
    const auto [h, w] = scaled_size(info_.geometry, 0, height, width);
    return {h, w, half_of(h - info_.geometry[1]), half_of(w - info_.geometry[2])};
  }

  void resize(const Cut& cut, Sample& sample) const {
    Sample::Pixels p = sample.pixels;
    const int64_t out_height = info_.geometry[1], out_width = info_.geometry[2];
    if (p.height == out_height && p.width == out_width) return;
    Resampler resampler;
    if (p.height != cut.height || p.width != cut.width)
      p = resampler.resize(p, {0, 0, p.height, p.width}, cut.height, cut.width);
    std::vector<uint8_t> out(static_cast<size_t>(out_height * out_width * p.channels));
    uint8_t* to = out.data();
    for (int64_t y = 0; y < out_height; ++y)
      for (int64_t x = 0; x < out_width; ++x)
        for (int64_t c = 0; c < p.channels; ++c)
          *to++ =
              p.data[(y + cut.top) * p.row_stride + (x + cut.left) * p.column_stride + c * p.channel_stride];
    sample.release_large();
    sample.buffer = std::move(out);
    sample.pixels = {sample.buffer.data(),   p.channels, out_height, out_width, 1,
                     out_width * p.channels, p.channels};
  }

  void read_mask(int64_t index, int64_t height, int64_t width, const Cut& cut, Sample& sample) const {
    const std::string path = joined_path(places_.masks, masks_[static_cast<size_t>(index)]);
    const Mask mask = decode_mask(read_file(path, kMostMaskBytes), path);
    if (mask.height != height || mask.width != width)
      throw input_error("{}: the mask has {} x {} pixels, but its image ({}) has {} x {}", path, mask.width,
                        mask.height, name(index), width, height);
    const int64_t out_height = info_.geometry[1], out_width = info_.geometry[2];
    sample.labels.resize(static_cast<size_t>(out_height * out_width));
    // The pixel in whose place the middle of the new one falls.
    const auto nearest = [](int64_t at, int64_t from, int64_t to) { return (2 * at + 1) * from / (2 * to); };
    for (int64_t y = 0; y < out_height; ++y) {
      const int64_t row = nearest(y + cut.top, height, cut.height);
      for (int64_t x = 0; x < out_width; ++x) {
        const int64_t column = nearest(x + cut.left, width, cut.width);
        sample.labels[static_cast<size_t>(y * out_width + x)] =
            position_label(mask.classes[static_cast<size_t>(row * width + column)], info_.reading,
                           [&] { return fmt::format("{}, row {}, column {}", path, row, column); });
      }
    }
  }

  void find_masks(const OpenOptions& options) {
    std::map<std::string, std::string> by_stem;
    for (const std::string& path : images_in(places_.masks, options.skip_bad, nullptr)) {
      const auto [it, added] = by_stem.emplace(stem_of(path), path);
      if (!added)
        throw input_error("{}: {} and {} are masks of one image; remove one", places_.masks,
                          shown(it->second), shown(path));
    }
    std::set<std::string> stems;
    for (const std::string& path : paths_) {
      const std::string stem = stem_of(path);
      if (!stems.insert(stem).second)
        throw input_error("{}: two images are called {}, and one mask is; rename one", places_.images,
                          shown(stem));
      const auto mask = by_stem.find(stem);
      if (mask == by_stem.end())
        throw input_error("{}: there is no mask for {}; expected {}.png", places_.masks,
                          joined_path(places_.images, path), joined_path(places_.masks, stem));
      masks_.push_back(mask->second);
    }
    if (by_stem.size() > stems.size())
      info_.notes.push_back(
          fmt::format("{} masks have no image and are left out", by_stem.size() - stems.size()));
  }

  void read_as_positions(const OpenOptions& options) {
    LabelForm form;
    form.kind = LabelForm::Kind::kIntegers;
    form.where = places_.masks;
    form.shape = {info_.geometry[1], info_.geometry[2]};
    form.width = elements(form.shape);
    form.whole = true;
    form.ignored = kIgnoredInMasks;
    form.sample_name = [this](int64_t i) { return name(i); };
    LabelReading reading{LabelKind::kPositions, options.classes > 0 ? options.classes : 65536, form.shape,
                         kIgnoredInMasks};
    if (options.read_positions) {
      const auto decided = options.read_positions(form, info_);
      if (!decided)
        throw input_error(
            "{}: its masks have a class for each pixel, {} a sample, and the network's output or the loss "
            "takes none "
            "(expected cross-entropy and an output of shape [batch, classes, {}, {}])",
            info_.source, to_string(form.shape), form.shape[0], form.shape[1]);
      reading = *decided;
    }
    info_.labels = LabelKind::kPositions;
    info_.classes = reading.classes;
    info_.reading = reading;
    look_at_classes(options);
  }

  // Says which classes there are.
  void look_at_classes(const OpenOptions& options) {
    constexpr size_t kLookedAt = 64;
    std::set<int64_t> found;
    for (size_t i = 0; i < std::min(masks_.size(), kLookedAt); ++i) {
      const size_t index = masks_.size() <= kLookedAt ? i : i * (masks_.size() - 1) / (kLookedAt - 1);
      const std::string path = joined_path(places_.masks, masks_[index]);
      try {
        const Mask mask = decode_mask(read_file(path, kMostMaskBytes), path);
        found.insert(mask.classes.begin(), mask.classes.end());
      } catch (const Error& e) {
        if (!options.skip_bad || e.kind() != ErrorKind::kInput) throw;
      }
    }
    std::string text;
    for (const int64_t value : found)
      if (value != info_.reading.ignored) text += fmt::format("{}{}", text.empty() ? "" : ", ", value);
    info_.notes.push_back(fmt::format(
        "{} have the classes {}{}", masks_.size() <= kLookedAt ? "its masks" : "some of its masks", text,
        found.count(info_.reading.ignored.value_or(-1)) > 0
            ? fmt::format("; {} marks pixels that do not count", *info_.reading.ignored)
            : ""));
  }

  MaskPlaces places_;
  std::vector<std::string> paths_;  // of images, below their folder
  std::vector<std::string> masks_;  // one each; empty: labels are not wanted
  ImageFiles images_;
};

}  // namespace

std::vector<std::string> mask_splits(const std::string& path) {
  if (has_both(path)) {
    const std::vector<std::string> splits = folder_splits(joined_path(path, kImages));
    return splits.empty() || folder_splits(joined_path(path, kMasks)).empty() ? std::vector<std::string>{}
                                                                              : splits;
  }
  std::vector<std::string> splits;
  for (const std::string& split : folder_splits(path))
    if (has_both(split_named(path, split))) splits.push_back(split);
  return splits;
}

bool is_mask_folder(const std::string& path) {
  return has_both(path) || !mask_splits(path).empty();
}

std::unique_ptr<Dataset> open_mask_folder(const Spec& spec, const OpenOptions& options) {
  const std::vector<std::string> splits = mask_splits(spec.path);
  if (splits.empty()) {
    if (!spec.split.empty()) choose_split(spec, options.splits, splits);
    return std::make_unique<MaskFolder>(
        MaskPlaces{joined_path(spec.path, kImages), joined_path(spec.path, kMasks)}, spec.path, options);
  }
  const std::string split = choose_split(spec, options.splits, splits);
  const bool inside = has_both(spec.path);
  const std::string folder = inside ? "" : split_named(spec.path, split);
  const MaskPlaces places = inside ? MaskPlaces{split_named(joined_path(spec.path, kImages), split),
                                                split_named(joined_path(spec.path, kMasks), split)}
                                   : MaskPlaces{joined_path(folder, kImages), joined_path(folder, kMasks)};
  if (places.images.empty() || places.masks.empty())
    throw input_error("{}: there are {} for {}, but no {}", spec.path,
                      places.images.empty() ? kMasks : kImages, split,
                      places.images.empty() ? kImages : kMasks);
  return std::make_unique<MaskFolder>(places, inside ? spec.path + " (" + split + ")" : folder, options);
}

}  // namespace halftone::data
