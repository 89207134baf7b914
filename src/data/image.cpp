#include "data/image.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <new>
#include <optional>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "data/byte_order.h"
#include "data/codecs.h"
#include "data/orientation.h"

namespace halftone::data {
namespace {

bool is_png(std::string_view bytes) {
  return bytes.substr(0, 8) == "\x89PNG\r\n\x1A\n";
}
bool is_webp(std::string_view bytes) {
  return bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP";
}
bool is_gif(std::string_view bytes) {
  return bytes.substr(0, 6) == "GIF87a" || bytes.substr(0, 6) == "GIF89a";
}
bool is_bmp(std::string_view bytes) {
  return bytes.substr(0, 2) == "BM";
}
bool is_tiff(std::string_view bytes) {
  return bytes.substr(0, 4) == std::string_view("II*\0", 4) ||
         bytes.substr(0, 4) == std::string_view("MM\0*", 4);
}

const Codec kCodecs[] = {
    {"JPEG", ".jpg .jpeg", is_jpeg, read_jpeg_header, decode_jpeg},
    {"PNG", ".png", is_png, read_png_header, decode_png},
    {"WebP", ".webp", is_webp, read_webp_header, decode_webp},
    {"GIF", ".gif", is_gif, read_gif_header, decode_gif},
    {"BMP", ".bmp", is_bmp, read_bmp_header, decode_bmp},
    {"TIFF", ".tif .tiff", is_tiff, read_tiff_header, decode_tiff},
};

const Codec* find_codec(std::string_view bytes) {
  for (const Codec& codec : kCodecs)
    if (codec.recognises(bytes)) return &codec;
  return nullptr;
}

const Codec& codec_of(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) throw input_error("{}: the image file is empty", name);
  const Codec* codec = find_codec(bytes);
  if (codec == nullptr)
    throw input_error(
        "{}: not an image of a kind that is read (its first bytes are something else); expected {}", name,
        image_kinds());
  return *codec;
}

// Blocks of a GIF: a length and as many bytes, up to an empty one. Where the next thing begins; none: the file ends.
std::optional<size_t> behind_gif_blocks(std::string_view bytes, size_t at) {
  while (at < bytes.size()) {
    const auto length = static_cast<uint8_t>(bytes[at]);
    at += size_t{1} + length;
    if (length == 0) return at;
  }
  return std::nullopt;
}

bool gif_has_more(std::string_view bytes) {
  constexpr uint8_t kHasPalette = 0x80;
  const auto palette = [&](size_t flags_at) -> size_t {
    const auto flags = static_cast<uint8_t>(bytes[flags_at]);
    return (flags & kHasPalette) != 0 ? size_t{3} << ((flags & 7) + 1) : 0;
  };
  if (bytes.size() < 13) return false;
  int frames = 0;
  for (std::optional<size_t> at = 13 + palette(10); at && *at < bytes.size();) {
    if (bytes[*at] == '!') {
      at = behind_gif_blocks(bytes, *at + 2);
    } else if (bytes[*at] == ',' && *at + 10 < bytes.size()) {
      if (++frames == 2) return true;
      at = behind_gif_blocks(bytes, *at + 11 + palette(*at + 9));
    } else {
      return false;
    }
  }
  return false;
}

bool tiff_has_more(std::string_view bytes) {
  const bool big = bytes[0] == 'M';
  if (bytes.size() < 8) return false;
  const size_t directory = number_in(bytes, 4, 4, big);
  if (directory > bytes.size() - 2) return false;
  const size_t next = directory + 2 + size_t{12} * number_in(bytes, directory, 2, big);
  return next + 4 <= bytes.size() && number_in(bytes, next, 4, big) != 0;
}

}  // namespace

bool is_jpeg(std::string_view bytes) {
  return bytes.substr(0, 3) == "\xFF\xD8\xFF";
}

bool is_image(std::string_view bytes) {
  return find_codec(bytes) != nullptr;
}

bool has_more_pictures(std::string_view bytes) {
  constexpr uint8_t kAnimation = 2;  // of the flags in the chunk VP8X
  if (is_gif(bytes)) return gif_has_more(bytes);
  if (is_webp(bytes))
    return bytes.size() > 20 && bytes.substr(12, 4) == "VP8X" &&
           (static_cast<uint8_t>(bytes[20]) & kAnimation) != 0;
  return is_tiff(bytes) && tiff_has_more(bytes);
}

const std::vector<std::string>& image_endings() {
  static const std::vector<std::string> endings = [] {
    std::vector<std::string> all;
    for (const Codec& codec : kCodecs) {
      std::istringstream words(codec.endings);
      for (std::string word; words >> word;) all.push_back(word);
    }
    return all;
  }();
  return endings;
}

std::string image_kinds() {
  std::string kinds;
  for (const Codec& codec : kCodecs)
    kinds += std::string(kinds.empty() ? "" : &codec == std::end(kCodecs) - 1 ? " or " : ", ") + codec.kind;
  return kinds;
}

void check_image_size(int64_t height, int64_t width, size_t bytes, const std::string& name) {
  check_image_size(height, width, std::max(kFreePixels, static_cast<int64_t>(bytes) * kMostPixelsAByte),
                   bytes, name);
}

void check_memory(int64_t bytes) {
  void* const block = std::malloc(static_cast<size_t>(bytes));
  if (block == nullptr) throw std::bad_alloc();
  std::free(block);
}

void make_room(const ImageHeader& header, const CodecWishes& wishes, Image& image) {
  ImageHeader turned = header;
  turned.transposed = wishes.transposed;
  image.lease = DecodeLease(decode_bytes(turned, {}));
  image.height = header.height;
  image.width = header.width;
  image.channels = 3;
  image.pixels.assign(static_cast<size_t>(3 * header.height * header.width), 0);
}

void keep_channels(int64_t channels, Image& image) {
  image.channels = channels;
  if (channels == 3) return;
  const auto pixels = static_cast<size_t>(image.height * image.width);
  uint8_t* p = image.pixels.data();
  for (size_t i = 0; i < pixels; ++i) p[i] = luma(p[3 * i], p[3 * i + 1], p[3 * i + 2]);
  image.pixels.resize(pixels);
}

void check_image_size(int64_t height, int64_t width, int64_t most, size_t bytes, const std::string& name) {
  if (height <= 0 || width <= 0)
    throw input_error("{}: the image has no pixels ({} x {})", name, width, height);
  // Both are below 2^32, and their product is formed of smaller ones.
  if (height > kMaxPixels || width > kMaxPixels || height * width > kMaxPixels)
    throw input_error("{}: the image claims {} x {} pixels; at most {} are read", name, width, height,
                      kMaxPixels);
  if (height * width > most)
    throw input_error("{}: the image claims {} x {} pixels, more than its {} bytes can hold", name, width,
                      height, bytes);
}

int64_t jpeg_reduction(int64_t height, int64_t width, const WantedSize& wanted) {
  if (wanted.height <= 0 || wanted.width <= 0 || height * width <= kScaledFrom) return 1;
  for (const int64_t part : {8, 4, 2})
    if (height >= part * kScaledSpare * wanted.height && width >= part * kScaledSpare * wanted.width)
      return part;
  return 1;
}

int64_t decode_bytes(const ImageHeader& header, const WantedSize& wanted) {
  const int64_t pixels = header.height * header.width;
  const int64_t copies = header.transposed ? 2 : 1;
  if (!header.jpeg) return copies * 3 * pixels + header.working_bytes;
  const int64_t part = jpeg_reduction(header.height, header.width, wanted);
  // CMYK has 4 bytes a pixel. Coefficients have 2, of up to that many components.
  return copies * 4 * pixels / (part * part) + (header.progressive ? 8 * pixels : 0);
}

void decode_image(std::string_view bytes, int64_t channels, const std::string& name, Image& image,
                  const ImageWishes& wishes) {
  HT_ASSERT(channels == 1 || channels == 3, "images have 1 or 3 channels, not {}", channels);
  image.lease = DecodeLease();
  const int orientation = wishes.turned ? orientation_of(bytes) : 1;
  CodecWishes codec{channels, wishes.size, transposes(orientation)};
  if (codec.transposed) std::swap(codec.size.height, codec.size.width);
  codec_of(bytes, name).decode(bytes, codec, name, image);
  turn(image, orientation);
  // The coefficients of a progressive JPEG are gone by now. Pixels that are few do not count, and who keeps
  // them gives no lease back.
  if (image.pixels.capacity() <= static_cast<size_t>(kUncountedBytes)) image.lease = DecodeLease();
}

ImageHeader read_image_header(std::string_view bytes, const std::string& name, bool turned) {
  ImageHeader header = codec_of(bytes, name).read_header(bytes, name);
  header.transposed = turned && transposes(orientation_of(bytes));
  if (header.transposed) std::swap(header.height, header.width);
  return header;
}

}  // namespace halftone::data
