#include "data/orientation.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "data/byte_order.h"

namespace halftone::data {
namespace {

constexpr int kUpright = 1;
constexpr uint32_t kOrientationTag = 0x0112;

// Of the first directory of a TIFF, which is what EXIF is.
int of_directory(std::string_view tiff) {
  constexpr size_t kEntryBytes = 12;
  constexpr uint32_t kShort = 3;
  if (tiff.size() < 8) return kUpright;
  const bool big = tiff.substr(0, 2) == "MM";
  if (!big && tiff.substr(0, 2) != "II") return kUpright;
  if (number_in(tiff, 2, 2, big) != 42) return kUpright;
  const size_t directory = number_in(tiff, 4, 4, big);
  if (directory > tiff.size() - 2) return kUpright;
  const size_t entries = number_in(tiff, directory, 2, big);
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + i * kEntryBytes;
    if (tiff.size() < kEntryBytes || at > tiff.size() - kEntryBytes) return kUpright;
    if (number_in(tiff, at, 2, big) != kOrientationTag) continue;
    if (number_in(tiff, at + 2, 2, big) != kShort || number_in(tiff, at + 4, 4, big) != 1) return kUpright;
    const uint32_t value = number_in(tiff, at + 8, 2, big);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : kUpright;
  }
  return kUpright;
}

// What is behind "Exif\0\0" in the first such APP1 segment; empty: there is none.
std::string_view exif_of_jpeg(std::string_view bytes) {
  constexpr std::string_view kName("Exif\0\0", 6);
  size_t at = 2;
  while (at + 4 <= bytes.size()) {
    if (static_cast<uint8_t>(bytes[at]) != 0xFF) return {};
    const auto marker = static_cast<uint8_t>(bytes[at + 1]);
    if (marker == 0xFF) {  // a byte of filling
      ++at;
      continue;
    }
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) {  // without a length
      at += 2;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) return {};  // the pixels; the end
    const size_t length = number_in(bytes, at + 2, 2, true);
    if (length < 2 || length > bytes.size() - at - 2) return {};
    const std::string_view content = bytes.substr(at + 4, length - 2);
    if (marker == 0xE1 && content.substr(0, kName.size()) == kName) return content.substr(kName.size());
    at += 2 + length;
  }
  return {};
}

std::string_view exif_of_png(std::string_view bytes) {
  constexpr size_t kFrame = 12;  // length, name, check sum
  for (size_t at = 8; at + kFrame <= bytes.size();) {
    const size_t length = number_in(bytes, at, 4, true);
    if (length > bytes.size() - at - kFrame) return {};
    if (bytes.substr(at + 4, 4) == "eXIf") return bytes.substr(at + 8, length);
    at += kFrame + length;
  }
  return {};
}

std::string_view exif_of_webp(std::string_view bytes) {
  constexpr std::string_view kName("Exif\0\0", 6);
  constexpr size_t kFrame = 8;  // name, length
  for (size_t at = 12; at + kFrame <= bytes.size();) {
    const size_t length = number_in(bytes, at + 4, 4, false);
    if (length > bytes.size() - at - kFrame) return {};
    if (bytes.substr(at, 4) == "EXIF") {
      const std::string_view content = bytes.substr(at + kFrame, length);
      // Some writers have JPEG's name in front.
      return content.substr(0, kName.size()) == kName ? content.substr(kName.size()) : content;
    }
    at += kFrame + length + length % 2;
  }
  return {};
}

}  // namespace

int orientation_of(std::string_view bytes) {
  if (bytes.substr(0, 2) == "\xFF\xD8") return of_directory(exif_of_jpeg(bytes));
  if (bytes.substr(0, 4) == "\x89PNG") return of_directory(exif_of_png(bytes));
  if (bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP")
    return of_directory(exif_of_webp(bytes));
  return of_directory(bytes);
}

void turn(Image& image, int orientation) {
  HT_ASSERT(orientation >= 1 && orientation <= 8, "{}", orientation);
  if (orientation == kUpright) return;
  const auto channels = static_cast<size_t>(image.channels);
  const auto height = static_cast<size_t>(image.height);
  const auto width = static_cast<size_t>(image.width);
  uint8_t* const p = image.pixels.data();
  const size_t row_bytes = width * channels;
  if (orientation == 4) {
    for (size_t y = 0; y < height / 2; ++y)
      std::swap_ranges(p + y * row_bytes, p + (y + 1) * row_bytes, p + (height - 1 - y) * row_bytes);
    return;
  }
  if (!transposes(orientation)) {
    // Pixels from both ends of a row, or of the whole picture.
    const size_t parts = orientation == 2 ? height : 1;
    const size_t count = width * height / parts;
    for (size_t part = 0; part < parts; ++part) {
      uint8_t* left = p + part * row_bytes;
      uint8_t* right = left + count * channels;
      for (size_t i = 0; i < count / 2; ++i, left += channels) {
        right -= channels;
        std::swap_ranges(left, left + channels, right);
      }
    }
    return;
  }
  // Row y of the result is a column of the picture: from the left, or (7, 8) from the right; read from the top, or (6, 7)
  // from the bottom.
  const bool from_right = orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 6 || orientation == 7;
  std::vector<uint8_t> turned(width * height * channels);
  uint8_t* to = turned.data();
  for (size_t y = 0; y < width; ++y)
    for (size_t x = 0; x < height; ++x, to += channels) {
      const size_t row = from_bottom ? height - 1 - x : x;
      const size_t column = from_right ? width - 1 - y : y;
      std::memcpy(to, p + row * row_bytes + column * channels, channels);
    }
  image.pixels = std::move(turned);
  std::swap(image.height, image.width);
}

}  // namespace halftone::data
