// WebP by libwebp. Of a moving picture the first frame, on black where it leaves some of the canvas free.
#include <webp/decode.h>
#include <webp/demux.h>

#include <cerrno>
#include <memory>
#include <new>

#include "base/error.h"
#include "data/byte_order.h"
#include "data/codecs.h"

namespace halftone::data {
namespace {

// What decoding takes for a pixel besides its colours: lossless pictures are decoded to four bytes, and have one for alpha.
constexpr int64_t kWebpWorkingBytes = 5;

[[noreturn]] void damaged_webp(const std::string& name, const char* why) {
  throw input_error("{}: damaged WebP image: {}", name, why);
}

// Behind a call before which errno was 0: libwebp calls some pictures damaged for which it got no memory.
void check_webp(VP8StatusCode code, const std::string& name) {
  if (code != VP8_STATUS_OK && errno == ENOMEM) throw std::bad_alloc();
  switch (code) {
    case VP8_STATUS_OK:
      return;
    case VP8_STATUS_OUT_OF_MEMORY:
      throw std::bad_alloc();
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      damaged_webp(name, "it ends too early");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      damaged_webp(name, "a feature that is not known");
    default:
      damaged_webp(name, "its data make no picture");
  }
}

const uint8_t* webp_bytes(std::string_view bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

WebPBitstreamFeatures webp_features(std::string_view bytes, const std::string& name) {
  // The length that the file declares; without this, one whose last chunks (EXIF) are gone would do.
  if (bytes.size() < 12 || uint64_t{number_in(bytes, 4, 4, /*big_endian=*/false)} + 8 > bytes.size())
    damaged_webp(name, "it ends too early");
  WebPBitstreamFeatures features;
  errno = 0;
  check_webp(WebPGetFeatures(webp_bytes(bytes), bytes.size(), &features), name);
  check_image_size(features.height, features.width, bytes.size(), name);
  return features;
}

// To rows that are `stride` bytes apart.
void decode_webp_frame(const uint8_t* bytes, size_t size, int64_t height, int64_t width, uint8_t* out,
                       int64_t stride, const std::string& name) {
  WebPDecoderConfig config;
  check_memory(kWebpWorkingBytes * height * width + kCodecBytes);
  errno = 0;
  if (WebPInitDecoderConfig(&config) == 0) throw input_error("{}: libwebp is of another version", name);
  check_webp(WebPGetFeatures(bytes, size, &config.input), name);
  if (config.input.width != width || config.input.height != height)
    damaged_webp(name, "a frame has another size");
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out;
  config.output.u.RGBA.stride = static_cast<int>(stride);
  config.output.u.RGBA.size = static_cast<size_t>(stride * (height - 1) + 3 * width);
  const VP8StatusCode code = WebPDecode(bytes, size, &config);
  WebPFreeDecBuffer(&config.output);
  check_webp(code, name);
}

struct WebpFrames {
  explicit WebpFrames(std::string_view bytes) {
    const WebPData data{webp_bytes(bytes), bytes.size()};
    demuxer.reset(WebPDemux(&data));
  }
  struct Delete {
    void operator()(WebPDemuxer* d) const { WebPDemuxDelete(d); }
  };
  std::unique_ptr<WebPDemuxer, Delete> demuxer;
};

void decode_first_webp_frame(std::string_view bytes, const std::string& name, Image& image) {
  errno = 0;
  const WebpFrames frames(bytes);
  if (errno == ENOMEM) throw std::bad_alloc();
  WebPIterator frame{};
  if (!frames.demuxer || WebPDemuxGetFrame(frames.demuxer.get(), 1, &frame) == 0)
    damaged_webp(name, "it has no complete first frame");
  const int64_t height = frame.height, width = frame.width, top = frame.y_offset, left = frame.x_offset;
  const WebPData fragment = frame.fragment;
  const bool complete = frame.complete != 0;
  WebPDemuxReleaseIterator(&frame);
  if (!complete || height <= 0 || width <= 0 || top + height > image.height || left + width > image.width)
    damaged_webp(name, "its first frame is not complete or lies outside the canvas");
  decode_webp_frame(fragment.bytes, fragment.size, height, width,
                    image.pixels.data() + 3 * (top * image.width + left), 3 * image.width, name);
}

}  // namespace

ImageHeader read_webp_header(std::string_view bytes, const std::string& name) {
  const WebPBitstreamFeatures features = webp_features(bytes, name);
  ImageHeader header{features.height, features.width, true};
  header.working_bytes = kWebpWorkingBytes * header.height * header.width;
  return header;
}

void decode_webp(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image) {
  const bool moves = webp_features(bytes, name).has_animation != 0;
  make_room(read_webp_header(bytes, name), wishes, image);
  if (moves) {
    decode_first_webp_frame(bytes, name, image);
  } else {
    decode_webp_frame(webp_bytes(bytes), bytes.size(), image.height, image.width, image.pixels.data(),
                      3 * image.width, name);
  }
  keep_channels(wishes.channels, image);
}

}  // namespace halftone::data
