// JPEG by libjpeg-turbo. Its errors leave through longjmp, so every call into it stands in a function without
// C++ objects that need destruction; those functions return false, and their callers throw.
#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/error.h"
#include "data/codecs.h"

// jpeglib.h needs <cstddef> and <cstdio> before it, jerror.h needs jpeglib.h.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

namespace halftone::data {
namespace {

// A progressive file may repeat its scans, each a pass over all pixels; real ones have about ten.
constexpr int kMaxScans = 100;

struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void fail(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  info->err->format_message(info, manager->message);
  std::longjmp(manager->jump, 1);
}

// Warnings that mean lost pixels are errors here; the others (stray bytes between markers, odd version
// numbers) are common in files that every viewer shows correctly.
void warn(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
      fail(info);
    default:
      break;
  }
}

void ignore_message(j_common_ptr) {}

void limit_scans(j_common_ptr info) {
  const auto* reader = reinterpret_cast<j_decompress_ptr>(info);
  if (reader->input_scan_number <= kMaxScans) return;
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  std::snprintf(manager->message, sizeof manager->message, "more than %d scans", kMaxScans);
  std::longjmp(manager->jump, 1);
}

class JpegReader {
 public:
  JpegReader() {
    std::memset(&info_, 0, sizeof info_);
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = fail;
    errors_.base.emit_message = warn;
    errors_.base.output_message = ignore_message;
    errors_.message[0] = '\0';
    progress_ = {};
    progress_.progress_monitor = limit_scans;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  // Safe also after create() failed: info_ was zeroed before it.
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  bool read_header(const unsigned char* bytes, size_t size) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, bytes, size);
    return jpeg_read_header(&info_, TRUE) == JPEG_HEADER_OK;
  }

  // `reduction`: 1, 2, 4 or 8.
  bool start(int64_t reduction) {
    if (setjmp(errors_.jump) != 0) return false;
    info_.scale_num = 1;
    info_.scale_denom = static_cast<unsigned>(reduction);
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    switch (info_.jpeg_color_space) {
      case JCS_GRAYSCALE:
        info_.out_color_space = JCS_GRAYSCALE;
        break;
      case JCS_CMYK:
      case JCS_YCCK:
        info_.out_color_space = JCS_CMYK;
        break;
      default:
        info_.out_color_space = JCS_RGB;
    }
    return jpeg_start_decompress(&info_) == TRUE;
  }

  // All rows, `row_bytes` apart.
  bool read_rows(unsigned char* out, size_t row_bytes) {
    if (setjmp(errors_.jump) != 0) return false;
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = out + static_cast<size_t>(info_.output_scanline) * row_bytes;
      jpeg_read_scanlines(&info_, &row, 1);
    }
    return jpeg_finish_decompress(&info_) == TRUE;
  }

  ImageHeader header() {
    return {info_.image_height, info_.image_width, info_.jpeg_color_space != JCS_GRAYSCALE, true,
            jpeg_has_multiple_scans(&info_) == TRUE};
  }
  // After start().
  int64_t out_height() const { return info_.output_height; }
  int64_t out_width() const { return info_.output_width; }
  int out_components() const { return info_.output_components; }
  // Adobe writes CMYK inverted, and marks its files.
  bool inverted() const { return info_.saw_Adobe_marker == TRUE; }
  // What the last failure means, for the image `name`.
  Error failure(const std::string& name) const {
    if (errors_.base.msg_code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
    return input_error("{}: damaged JPEG image: {}", name, errors_.message);
  }

 private:
  jpeg_decompress_struct info_;
  ErrorManager errors_;
  jpeg_progress_mgr progress_;
};

void open(JpegReader& reader, std::string_view bytes, const std::string& name) {
  if (!reader.read_header(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()))
    throw reader.failure(name);
  // Every 8x8 block of the first component takes at least one bit of entropy-coded data; at most 4 x 4 of the
  // largest component's blocks fall on one block of the smallest, but the largest has the image's size.
  const ImageHeader header = reader.header();
  check_image_size(header.height, header.width, static_cast<int64_t>(bytes.size()) * 8 * 64, bytes.size(),
                   name);
}

}  // namespace

ImageHeader read_jpeg_header(std::string_view bytes, const std::string& name) {
  JpegReader reader;
  open(reader, bytes, name);
  return reader.header();
}

void decode_jpeg(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image) {
  JpegReader reader;
  open(reader, bytes, name);
  ImageHeader header = reader.header();
  header.transposed = wishes.transposed;
  image.lease = DecodeLease(decode_bytes(header, wishes.size));
  if (!reader.start(jpeg_reduction(header.height, header.width, wishes.size))) throw reader.failure(name);
  image.height = reader.out_height();
  image.width = reader.out_width();
  const auto pixels = static_cast<size_t>(image.height * image.width);
  const auto from = static_cast<size_t>(reader.out_components());
  const auto to = static_cast<size_t>(wishes.channels);
  image.channels = wishes.channels;
  image.pixels.resize(pixels * std::max(from, to));
  uint8_t* p = image.pixels.data();
  if (!reader.read_rows(p, static_cast<size_t>(image.width) * from)) throw reader.failure(name);
  if (from == 4) {
    // To RGB in place.
    const uint8_t flip = reader.inverted() ? 0xFF : 0;
    for (size_t i = 0; i < pixels; ++i) {
      const uint8_t* in = p + 4 * i;
      const auto ink = [&](int c) { return static_cast<uint8_t>(in[c] ^ flip); };
      uint8_t rgb[3];
      cmyk_to_rgb(ink(0), ink(1), ink(2), ink(3), rgb);
      if (to == 3) {
        std::copy(rgb, rgb + 3, p + 3 * i);
      } else {
        p[i] = luma(rgb[0], rgb[1], rgb[2]);
      }
    }
  } else if (from == 3 && to == 1) {
    for (size_t i = 0; i < pixels; ++i) p[i] = luma(p[3 * i], p[3 * i + 1], p[3 * i + 2]);
  } else if (from == 1 && to == 3) {
    for (size_t i = pixels; i-- > 0;) p[3 * i] = p[3 * i + 1] = p[3 * i + 2] = p[i];
  }
  image.pixels.resize(pixels * to);
}

}  // namespace halftone::data
