#include "data/geometry.h"

#include <fmt/format.h>

#include "base/error.h"
#include "data/image.h"

namespace halftone::data {
namespace {

bool may_be_channels(int64_t size) {
  return size == 1 || size == 3;
}

// Whether neighbouring dimensions of `fine` make those of `coarse`.
bool merges_into(const Shape& fine, const Shape& coarse) {
  size_t i = 0;
  for (const int64_t d : coarse) {
    int64_t product = 1;
    while (product < d && i < fine.size()) product *= fine[i++];
    if (product != d) return false;
  }
  return i == fine.size();
}

// Whether arrays of these shapes, which have equally many elements, have them in an order that means the
// same.
bool same_order(const Shape& a, const Shape& b) {
  const auto squeezed = [](const Shape& shape) {
    Shape out;
    for (const int64_t d : shape)
      if (d != 1) out.push_back(d);
    return out;
  };
  return merges_into(squeezed(a), squeezed(b)) || merges_into(squeezed(b), squeezed(a));
}

}  // namespace

int64_t half_of(int64_t twice) {
  const int64_t floor = twice >= 0 ? twice / 2 : -((1 - twice) / 2);
  return 2 * floor == twice ? floor : floor + (floor % 2 != 0 ? 1 : 0);
}

bool keeps_image_size(const OpenOptions& options) {
  const Shape& wanted = options.sample_shape;
  if (wanted.size() == 2) return wanted[0] < 0 || wanted[1] < 0;
  if (wanted.size() != 3) return false;
  const bool last = options.network_layout == Layout::kChannelsLast;
  return wanted[last ? 0 : 1] < 0 || wanted[last ? 1 : 2] < 0;
}

void resolve_image_shape(const Shape& native, const OpenOptions& options, const std::string& source,
                         DataInfo& info) {
  HT_ASSERT(native.size() == 3);
  const Shape& wanted = options.sample_shape;
  const int64_t plane = native[1] * native[2];
  const auto or_native = [&](size_t i, size_t axis) { return wanted[i] > 0 ? wanted[i] : native[axis]; };
  info.image = true;
  for (const int64_t d : wanted)
    if (d == 0)
      throw usage_error("{}: the network wants samples of shape {}, which are empty", source,
                        to_string(wanted));
  switch (wanted.size()) {
    case 0:
      info.geometry = native;
      break;
    case 1: {
      const int64_t n = wanted[0] > 0 ? wanted[0] : elements(native);
      if (n == elements(native)) {
        info.geometry = native;
      } else if (n == plane || n == 3 * plane) {
        info.geometry = {n / plane, native[1], native[2]};
      } else {
        throw input_error(
            "{}: the network wants {} numbers a sample, but the images are {} (channels, height, width)",
            source, n, to_string(native));
      }
      break;
    }
    case 2:
      info.geometry = {1, or_native(0, 1), or_native(1, 2)};
      break;
    case 3:
      if (options.network_layout == Layout::kAuto && may_be_channels(wanted[0]) &&
          may_be_channels(wanted[2]) && elements(wanted) != 1)
        throw input_error(
            "{}: the network takes images of shape {}, whose channels may be first or last; say --layout "
            "channels-first or "
            "--layout channels-last",
            source, to_string(wanted));
      info.channels_last = options.network_layout == Layout::kChannelsLast;
      info.geometry = info.channels_last ? Shape{or_native(2, 0), or_native(0, 1), or_native(1, 2)}
                                         : Shape{or_native(0, 0), or_native(1, 1), or_native(2, 2)};
      break;
    default:
      throw input_error("{}: the network wants samples of shape {}, but these are images ({})", source,
                        to_string(wanted), to_string(native));
  }
  const int64_t channels = info.geometry[0];
  const bool convertible = (channels == 1 || channels == 3) && (native[0] == 1 || native[0] == 3);
  if (channels != native[0] && !convertible)
    throw input_error(
        "{}: the network wants {} channels, but the images have {}{}", source, channels, native[0],
        wanted.size() == 3 ? fmt::format(" (it takes samples of shape {} with the channels {}: {})",
                                         to_string(wanted), info.channels_last ? "last" : "first",
                                         options.layout_reason.empty() ? "as most do" : options.layout_reason)
                           : "");
  info.shape = info.geometry;
  if (info.channels_last) info.shape = {info.geometry[1], info.geometry[2], channels};
  if (wanted.size() == 1) info.shape = {elements(info.geometry)};
  if (wanted.size() == 2) info.shape = {info.geometry[1], info.geometry[2]};
  if (channels != native[0])
    info.notes.push_back(channels == 1 ? "colours become grey (luma)" : "grey becomes three equal channels");
  if (native[1] != info.geometry[1] || native[2] != info.geometry[2])
    info.notes.push_back(fmt::format("images ({} x {} the first) are resized and cropped to {} x {}",
                                     native[1], native[2], info.geometry[1], info.geometry[2]));
}

void resolve_value_shape(const Shape& native, const OpenOptions& options, const std::string& source,
                         DataInfo& info) {
  const Shape& wanted = options.sample_shape;
  info.image = false;
  info.shape = native;
  if (!wanted.empty()) {
    Shape shape = wanted;
    int64_t unknown = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] >= 0) continue;
      ++unknown;
      if (shape.size() == native.size()) shape[i] = native[i];
    }
    // A single unknown dimension of another rank follows from the number of elements.
    if (unknown == 1 && shape.size() != native.size()) {
      int64_t known = 1;
      for (const int64_t d : shape)
        if (d >= 0 && __builtin_mul_overflow(known, d, &known)) known = 0;
      const int64_t all = elements(native);
      for (int64_t& d : shape)
        if (d < 0) d = known > 0 && all % known == 0 ? all / known : 0;
      unknown = 0;
    }
    const bool resolved = unknown == 0 || shape.size() == native.size();
    if (!resolved || elements(shape) != elements(native))
      throw input_error("{}: the network wants samples of shape {}{}, but these have {}", source,
                        to_string(wanted), options.shape_note, to_string(native));
    if (!same_order(native, shape))
      throw input_error(
          "{}: the network wants samples of shape {}{}, but these have {}: as many numbers in another order; "
          "transpose them",
          source, to_string(wanted), options.shape_note, to_string(native));
    info.shape = shape;
  }
  if (info.shape.size() != 3) return;
  info.channels_last = options.network_layout == Layout::kChannelsLast;
  info.geometry = info.channels_last ? Shape{info.shape[2], info.shape[0], info.shape[1]} : info.shape;
}

void convert_channels(int64_t channels, Sample::Pixels& pixels, std::vector<uint8_t>& buffer) {
  if (pixels.channels == channels) return;
  if (pixels.channels == 1) {
    pixels.channels = channels;
    pixels.channel_stride = 0;
    return;
  }
  HT_ASSERT(pixels.channels == 3 && channels == 1, "{} channels to {}", pixels.channels, channels);
  std::vector<uint8_t> grey(static_cast<size_t>(pixels.height * pixels.width));
  for (int64_t y = 0; y < pixels.height; ++y) {
    for (int64_t x = 0; x < pixels.width; ++x) {
      const uint8_t* p = pixels.data + y * pixels.row_stride + x * pixels.column_stride;
      grey[static_cast<size_t>(y * pixels.width + x)] =
          luma(p[0], p[pixels.channel_stride], p[2 * pixels.channel_stride]);
    }
  }
  buffer = std::move(grey);
  pixels = {buffer.data(), 1, pixels.height, pixels.width, 0, pixels.width, 1};
}

}  // namespace halftone::data
