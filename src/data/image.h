// Pictures from compressed files: JPEG, PNG, WebP, GIF, BMP and TIFF. The pixels are those of Pillow's
// Image.open(…).convert("RGB" or "L"): libjpeg-turbo with the accurate integer transform and smooth chroma upsampling;
// the others without gamma or colour profile, alpha dropped, 16 bits reduced to their high byte (there Pillow clips greys
// instead), the grey of a palette from its colours. Of several frames or pages the first is read. Then they are turned
// as EXIF says (orientation.h), unless that is not wanted.
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
// How a picture is wanted.
struct ImageWishes {
  WantedSize size = {};
  bool turned = true;  // as EXIF says
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
  bool progressive = false;   // or in several scans: a JPEG that takes memory for all its coefficients
  bool transposed = false;    // by EXIF: height and width are those of the picture when it was turned
  int64_t working_bytes = 0;  // that decoding takes besides the pixels, of kinds other than JPEG
};
// What decoding such an image takes, its pixels included.
int64_t decode_bytes(const ImageHeader& header, const WantedSize& wanted);

// Whether the bytes begin as a file of a kind that is read does.
bool is_image(std::string_view bytes);
bool is_jpeg(std::string_view bytes);
// Whether the file has further frames (GIF, WebP) or pages (TIFF) behind the first, which is the one that is read. A
// damaged file may have any answer.
bool has_more_pictures(std::string_view bytes);

// Endings of the names of image files: those of the kinds that are read, and "JPEG, PNG, ...".
const std::vector<std::string>& image_endings();
std::string image_kinds();

// By its first bytes. `channels` 1 (luma, ITU-R 601 as Pillow rounds it) or 3. `name` is for
// messages. Errors: none of the kinds; damaged or cut off anywhere; more pixels than a file of its size can hold (JPEG:
// 1 bit for 8x8 pixels; PNG: deflate's 1032 to 1; others: codecs.h), or than kMaxPixels. Nothing is allocated before that
// check.
void decode_image(std::string_view bytes, int64_t channels, const std::string& name, Image& image,
                  const ImageWishes& wishes = {});
ImageHeader read_image_header(std::string_view bytes, const std::string& name, bool turned = true);

// 11585 x 11585; 384 MiB of colours. Photographs have up to 100 million.
constexpr int64_t kMaxPixels = int64_t{1} << 27;

// ITU-R 601 luma as Pillow computes it.
inline uint8_t luma(uint32_t r, uint32_t g, uint32_t b) {
  return static_cast<uint8_t>((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

}  // namespace halftone::data
