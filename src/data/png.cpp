// PNG by libspng.
#include <spng.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "base/error.h"
#include "data/codecs.h"
#include "data/mask.h"

namespace halftone::data {
namespace {

// Profiles and texts are read before the pixels; no real one is larger.
constexpr size_t kMaxChunkBytes = size_t{16} << 20;

struct Free {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, Free>;

// libspng calls it a damaged image when zlib, to which it lends these, gets no memory. Of this thread, since
// open().
thread_local bool memory_ran_out = false;

void* seen(void* block, size_t bytes) {
  if (block == nullptr && bytes > 0) memory_ran_out = true;
  return block;
}
void* get(size_t bytes) {
  return seen(std::malloc(bytes), bytes);
}
void* get_again(void* block, size_t bytes) {
  return seen(std::realloc(block, bytes), bytes);
}
void* get_zeroed(size_t count, size_t bytes) {
  return seen(std::calloc(count, bytes), bytes);
}

void check(int code, const std::string& name) {
  if (code == SPNG_EMEM || (code != 0 && memory_ran_out)) throw std::bad_alloc();
  if (code != 0) throw input_error("{}: damaged PNG image: {}", name, spng_strerror(code));
}

Context open(std::string_view bytes, const std::string& name, spng_ihdr& header) {
  memory_ran_out = false;
  spng_alloc memory{get, get_again, get_zeroed, std::free};
  Context context(spng_ctx_new2(&memory, 0));
  if (!context) throw std::bad_alloc();
  check(spng_set_crc_action(context.get(), SPNG_CRC_ERROR, SPNG_CRC_ERROR), name);
  check(spng_set_chunk_limits(context.get(), kMaxChunkBytes, 2 * kMaxChunkBytes), name);
  check(spng_set_png_buffer(context.get(), bytes.data(), bytes.size()), name);
  check(spng_get_ihdr(context.get(), &header), name);
  // Deflate gives at most 1032 bytes for one; a pixel takes bit_depth bits or more.
  check_image_size(header.height, header.width,
                   static_cast<int64_t>(bytes.size()) * 1032 * 8 / header.bit_depth, bytes.size(), name);
  return context;
}

}  // namespace

ImageHeader read_png_header(std::string_view bytes, const std::string& name) {
  spng_ihdr header{};
  open(bytes, name, header);
  const bool grey =
      header.color_type == SPNG_COLOR_TYPE_GRAYSCALE || header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;
  return {header.height, header.width, !grey};
}

void decode_png(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image) {
  spng_ihdr header{};
  const Context context = open(bytes, name, header);
  image.height = header.height;
  image.width = header.width;
  const auto pixels = static_cast<size_t>(image.height * image.width);
  image.lease =
      DecodeLease(decode_bytes({image.height, image.width, true, false, false, wishes.transposed}, {}));
  // RGB8 accepts every kind of PNG: greys and palettes are expanded, alpha is dropped, 16 bits lose their low
  // byte.
  image.pixels.resize(pixels * 3);
  check(spng_decode_image(context.get(), image.pixels.data(), image.pixels.size(), SPNG_FMT_RGB8, 0), name);
  keep_channels(wishes.channels, image);
}

Mask decode_mask(std::string_view bytes, const std::string& name) {
  if (bytes.substr(0, 4) != "\x89PNG")
    throw input_error("{}: masks are PNG files, and this is none (its first bytes are something else)", name);
  spng_ihdr header{};
  const Context context = open(bytes, name, header);
  const int bits = header.bit_depth;
  if (header.color_type != SPNG_COLOR_TYPE_GRAYSCALE && header.color_type != SPNG_COLOR_TYPE_INDEXED)
    throw input_error(
        "{}: the mask has colours{}; expected a palette, whose indices are the classes, or greys that are",
        name, header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ? " or alpha" : "");
  if (header.interlace_method != 0 && bits < 8)
    throw input_error("{}: interlaced masks of {} bits are not read; save it without interlacing", name,
                      bits);
  size_t size = 0;
  check(spng_decoded_image_size(context.get(), SPNG_FMT_RAW, &size), name);
  std::vector<uint8_t> raw(size);
  check(spng_decode_image(context.get(), raw.data(), raw.size(), SPNG_FMT_RAW, 0), name);
  Mask mask{header.height, header.width, {}};
  mask.classes.resize(static_cast<size_t>(mask.height * mask.width));
  const int64_t row_bytes = (mask.width * bits + 7) / 8;
  HT_ASSERT(static_cast<int64_t>(size) == row_bytes * mask.height, "{} bytes", size);
  uint16_t* to = mask.classes.data();
  for (int64_t y = 0; y < mask.height; ++y) {
    const uint8_t* row = raw.data() + y * row_bytes;
    for (int64_t x = 0; x < mask.width; ++x) {
      const int64_t bit = x * bits;
      const uint8_t* from = row + bit / 8;
      if (bits == 16) {
        *to++ = static_cast<uint16_t>(from[0] << 8 | from[1]);
      } else {
        *to++ = static_cast<uint16_t>((from[0] >> (8 - bits - bit % 8)) & ((1 << bits) - 1));
      }
    }
  }
  return mask;
}

}  // namespace halftone::data
