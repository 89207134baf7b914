#include "data/image.h"

#include "base/error.h"

namespace halftone::data {
namespace {

bool is_jpeg(std::string_view bytes) {
  return bytes.substr(0, 3) == "\xFF\xD8\xFF";
}
bool is_png(std::string_view bytes) {
  return bytes.substr(0, 8) == "\x89PNG\r\n\x1A\n";
}

[[noreturn]] void unknown(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) throw input_error("{}: the image file is empty", name);
  throw input_error("{}: not a JPEG or PNG image (its first bytes are something else)", name);
}

}  // namespace

bool is_image(std::string_view bytes) {
  return is_jpeg(bytes) || is_png(bytes);
}

void check_image_size(int64_t height, int64_t width, int64_t most, size_t bytes, const std::string& name) {
  if (height <= 0 || width <= 0)
    throw input_error("{}: the image has no pixels ({} x {})", name, width, height);
  // Both are below 2^31, so the product fits.
  if (height * width > kMaxPixels)
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
  if (!header.jpeg) return 3 * pixels;  // decode_png
  const int64_t part = jpeg_reduction(header.height, header.width, wanted);
  // CMYK has 4 bytes a pixel. Coefficients have 2, of up to that many components.
  return 4 * pixels / (part * part) + (header.progressive ? 8 * pixels : 0);
}

void decode_image(std::string_view bytes, int64_t channels, const std::string& name, Image& image,
                  const WantedSize& wanted) {
  HT_ASSERT(channels == 1 || channels == 3, "images have 1 or 3 channels, not {}", channels);
  image.lease = DecodeLease();
  if (is_jpeg(bytes)) {
    decode_jpeg(bytes, channels, name, image, wanted);
  } else if (is_png(bytes)) {
    decode_png(bytes, channels, name, image);
  } else {
    unknown(bytes, name);
  }
  // The coefficients of a progressive JPEG are gone by now. Pixels that are few do not count, and who keeps
  // them gives no lease back.
  if (image.pixels.capacity() <= static_cast<size_t>(kUncountedBytes)) image.lease = DecodeLease();
}

ImageHeader read_image_header(std::string_view bytes, const std::string& name) {
  if (is_jpeg(bytes)) return read_jpeg_header(bytes, name);
  if (is_png(bytes)) return read_png_header(bytes, name);
  unknown(bytes, name);
}

}  // namespace halftone::data
