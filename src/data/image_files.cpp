#include "data/image_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "data/geometry.h"
#include "data/orientation.h"

namespace halftone::data {
namespace {

constexpr int64_t kMostImageBytes = int64_t{1} << 30;

// A file's bytes that may say how the picture is turned. What cannot be read is the reader's to name.
std::string where_exif_is(const std::string& path) {
  // A segment of a JPEG has up to 64 KiB, and that of EXIF is the first or second.
  constexpr int64_t kFirstBytes = int64_t{72} << 10;
  try {
    const InputFile file(path, kMostImageBytes);
    std::string bytes(static_cast<size_t>(std::min(file.size(), kFirstBytes)), '\0');
    file.read(0, static_cast<int64_t>(bytes.size()), bytes.data());
    if (static_cast<int64_t>(bytes.size()) == file.size() || is_jpeg(bytes)) return bytes;
    return read_file(path, kMostImageBytes);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kInput) throw;
    return {};
  }
}

// False: a bad one, which is left out.
bool read_header(const std::string& path, bool turned, bool skip_bad, ImageHeader& header) {
  try {
    header = read_image_header(read_file(path, kMostImageBytes), path, turned);
    return true;
  } catch (const Error& e) {
    if (!skip_bad || e.kind() != ErrorKind::kInput) throw;
    return false;
  }
}

}  // namespace

void ImageFiles::open(int64_t count, PathOf path_of, const OpenOptions& options, DataInfo& info, bool whole) {
  HT_ASSERT(count > 0, "{}", info.source);
  count_ = count;
  path_of_ = std::move(path_of);
  info.files = true;
  wishes_.turned = options.exif_orientation;
  ImageHeader first;
  resolve_image_shape(first_shape(options, info, first), options, info.source, info);
  if (keeps_image_size(options)) {
    check_sizes(options, info);
  } else if (!whole) {
    wishes_.size = {std::max(options.resize, info.geometry[1]), std::max(options.resize, info.geometry[2])};
  }
  info.decode_bytes = decode_bytes(first, wishes_.size);
  look_into_files(info);
  channels_ = info.geometry[0];
  if (channels_ != 1 && channels_ != 3)
    throw input_error("{}: the network wants {} channels; images have 1 or 3", info.source, channels_);
}

void ImageFiles::read(int64_t index, Sample& sample) const {
  const std::string path = path_of_(index);
  sample.release_large();
  Image image;
  image.pixels = std::move(sample.buffer);
  decode_image(read_file(path, kMostImageBytes), channels_, path, image, wishes_);
  sample.buffer = std::move(image.pixels);
  sample.lease = std::move(image.lease);
  sample.pixels = {sample.buffer.data(),         image.channels, image.height, image.width, 1,
                   image.width * image.channels, image.channels};
}

// A batch has one size, and no option says which: all images must have that of the first.
void ImageFiles::check_sizes(const OpenOptions& options, const DataInfo& info) const {
  ImageHeader header;
  for (int64_t i = 0; i < count_; ++i) {
    const std::string path = path_of_(i);
    if (!read_header(path, wishes_.turned, options.skip_bad, header)) continue;
    if (header.height != info.geometry[1] || header.width != info.geometry[2])
      throw input_error(
          "{}: the image has {} x {} pixels, others {} x {}; the network leaves the size open, and the "
          "samples of a "
          "batch must have one: {} scales all images to it",
          path, header.width, header.height, info.geometry[2], info.geometry[1], options.size_advice);
  }
}

// Says how many pictures are not upright, and how many have further frames: of all, or of some that are evenly spread.
void ImageFiles::look_into_files(DataInfo& info) const {
  constexpr int64_t kLookedAt = 4096;
  const int64_t looked_at = std::min(count_, kLookedAt);
  int64_t found = 0, several = 0;
  for (int64_t i = 0; i < looked_at; ++i) {
    if (i % 256 == 0) check_stop();
    const int64_t index = looked_at == count_ ? i : i * (count_ - 1) / (looked_at - 1);
    const std::string bytes = where_exif_is(path_of_(index));
    found += orientation_of(bytes) != 1 ? 1 : 0;
    several += has_more_pictures(bytes) ? 1 : 0;
  }
  const auto counted = [&](int64_t of_them) {
    return fmt::format(
        "{} of {} images", of_them,
        looked_at == count_ ? fmt::format("{}", count_) : fmt::format("{} looked at", looked_at));
  };
  if (several > 0)
    info.notes.push_back(
        fmt::format("{} have several frames or pages, of which the first is read", counted(several)));
  if (found == 0) return;
  const std::string count = counted(found);
  if (wishes_.turned) {
    info.turned = found;
    info.notes.push_back(fmt::format(
        "{} are turned as their EXIF says (--exif-orientation off reads them as they are stored)", count));
  } else {
    info.notes.push_back(fmt::format(
        "warning: {}: {} are not upright, and are not turned (--exif-orientation off)", info.source, count));
  }
}

// C,H,W of the first image; with skip_bad the first that can be read.
Shape ImageFiles::first_shape(const OpenOptions& options, const DataInfo& info, ImageHeader& header) const {
  for (int64_t i = 0; i < count_; ++i)
    if (read_header(path_of_(i), wishes_.turned, options.skip_bad, header))
      return {header.colour ? 3 : 1, header.height, header.width};
  throw input_error("{}: none of its {} images can be read", info.source, count_);
}

}  // namespace halftone::data
