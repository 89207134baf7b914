// What decodes each kind of image file. Used by image.cpp alone; what pixels are is said in image.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "data/image.h"

namespace halftone::data {

// Codecs turn nothing; sizes and headers are those of the file.
struct CodecWishes {
  int64_t channels = 3;
  WantedSize size = {};     // what JPEGs may be reduced to
  bool transposed = false;  // will be, which takes memory
};

struct Codec {
  const char* kind;     // "JPEG"
  const char* endings;  // of names: ".jpg .jpeg"
  // By the first bytes.
  bool (*recognises)(std::string_view bytes);
  ImageHeader (*read_header)(std::string_view bytes, const std::string& name);
  void (*decode)(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);
};

ImageHeader read_jpeg_header(std::string_view bytes, const std::string& name);
ImageHeader read_png_header(std::string_view bytes, const std::string& name);
ImageHeader read_webp_header(std::string_view bytes, const std::string& name);
ImageHeader read_gif_header(std::string_view bytes, const std::string& name);
ImageHeader read_bmp_header(std::string_view bytes, const std::string& name);
ImageHeader read_tiff_header(std::string_view bytes, const std::string& name);
void decode_jpeg(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);
void decode_png(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);
void decode_webp(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);
void decode_gif(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);
void decode_bmp(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);
void decode_tiff(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image);

// Throws unless width x height is positive, at most kMaxPixels and at most `most` pixels, which a file of
// `bytes` bytes can hold.
void check_image_size(int64_t height, int64_t width, int64_t most, size_t bytes, const std::string& name);
// The same for kinds in which a few bytes may stand for any number of pixels of one colour: a picture of kFreePixels is
// believed, a larger one has kMostPixelsAByte at most.
constexpr int64_t kFreePixels = int64_t{1} << 22;
constexpr int64_t kMostPixelsAByte = 8192;
void check_image_size(int64_t height, int64_t width, size_t bytes, const std::string& name);

// libwebp 1.2 (lossless pictures) and libtiff 4.5 do not see that some of their allocations failed, and read what they did
// not get. Where memory is too little for all of them they are not called: std::bad_alloc.
void check_memory(int64_t bytes);
constexpr int64_t kCodecBytes = int64_t{1} << 20;  // of their tables, at most

// Makes `image` a picture of this size with three channels, with a lease for all that decoding it takes. Black, where it
// was empty.
void make_room(const ImageHeader& header, const CodecWishes& wishes, Image& image);
// RGB to the channels that are wanted, in place.
void keep_channels(int64_t channels, Image& image);

// a * b / 255, rounded.
inline uint8_t multiply_255(uint32_t a, uint32_t b) {
  const uint32_t t = a * b + 128;
  return static_cast<uint8_t>(((t >> 8) + t) >> 8);
}
// CMYK to RGB as Pillow does it: (255 - c) * (255 - k) / 255.
inline void cmyk_to_rgb(uint8_t c, uint8_t m, uint8_t y, uint8_t k, uint8_t* rgb) {
  const auto white = static_cast<uint8_t>(0xFF ^ k);
  rgb[0] = static_cast<uint8_t>(white - multiply_255(c, white));
  rgb[1] = static_cast<uint8_t>(white - multiply_255(m, white));
  rgb[2] = static_cast<uint8_t>(white - multiply_255(y, white));
}

}  // namespace halftone::data
