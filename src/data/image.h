// Pictures from compressed files. The pixels are those of Pillow's Image.open(…).convert("RGB" or "L"):
// libjpeg-turbo with the accurate integer transform and smooth chroma upsampling; PNG without gamma or colour
// profile, alpha dropped, 16 bits reduced to their high byte (there Pillow clips greys instead). The EXIF
// orientation is not applied, as torchvision's image folders don't either.
//
// A JPEG of more than kScaledFrom pixels, of which only a much smaller picture is wanted, is decoded at a
// half, a quarter or an eighth of its size (libjpeg averages blocks of pixels in the transform): the least
// that leaves both sides kScaledSpare times what is wanted. The resampling that follows averages at least as
// many pixels again; the picture differs in the last bit or two from that of the whole image, where the part
// of its sides is whole; otherwise its far corner is shifted too, by less than a quarter of a pixel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/decode_budget.h"

namespace halftone::data {

struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;         // 1 or 3
  std::vector<uint8_t> pixels;  // height x width x channels
  DecodeLease lease;            // for them
};

// The size that will be made of an image; 0: its own.
struct WantedSize {
  int64_t height = 0;
  int64_t width = 0;
};
constexpr int64_t kScaledFrom = int64_t{1} << 22;
constexpr int64_t kScaledSpare = 4;
// 1, 2, 4 or 8: the part of its sides at which a JPEG of this size is decoded.
int64_t jpeg_reduction(int64_t height, int64_t width, const WantedSize& wanted);

// The size and colours that a file declares, from its header alone.
struct ImageHeader {
  int64_t height = 0;
  int64_t width = 0;
  bool colour = false;
  bool jpeg = false;
  bool progressive = false;  // or in several scans: a JPEG that takes memory for all its coefficients
};
// What decoding such an image takes, its pixels included.
int64_t decode_bytes(const ImageHeader& header, const WantedSize& wanted);

// Whether the bytes begin as a JPEG or PNG file does.
bool is_image(std::string_view bytes);

// JPEG or PNG, by its first bytes. `channels` 1 (luma, ITU-R 601 as Pillow rounds it) or 3. `name` is for
// messages. Errors: neither; damaged or cut off anywhere; more pixels than a file of its size can hold (JPEG:
// 1 bit for 8x8 pixels; PNG: deflate's 1032 to 1), or than kMaxPixels. Nothing is allocated before that
// check.
void decode_image(std::string_view bytes, int64_t channels, const std::string& name, Image& image,
                  const WantedSize& wanted = {});
ImageHeader read_image_header(std::string_view bytes, const std::string& name);

// 11585 x 11585; 384 MiB of colours. Photographs have up to 100 million.
constexpr int64_t kMaxPixels = int64_t{1} << 27;

// ITU-R 601 luma as Pillow computes it.
inline uint8_t luma(uint32_t r, uint32_t g, uint32_t b) {
  return static_cast<uint8_t>((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

// The codecs, used by decode_image.
void decode_jpeg(std::string_view bytes, int64_t channels, const std::string& name, Image& image,
                 const WantedSize& wanted);
void decode_png(std::string_view bytes, int64_t channels, const std::string& name, Image& image);
ImageHeader read_jpeg_header(std::string_view bytes, const std::string& name);
ImageHeader read_png_header(std::string_view bytes, const std::string& name);

// Throws unless width x height is positive, at most kMaxPixels and at most `most` pixels, which a file of
// `bytes` bytes can hold.
void check_image_size(int64_t height, int64_t width, int64_t most, size_t bytes, const std::string& name);

}  // namespace halftone::data
