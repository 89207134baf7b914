// TIFF by libtiff: the first page. Known are greys, palettes, RGB and CMYK of unsigned numbers, in strips or tiles, in one
// plane or several, packed by LZW, Deflate, PackBits, the fax codes or as JPEG; everything else is refused by name. 16 bits
// lose their low byte, alpha is dropped, colours that were multiplied by it are divided by it, as Pillow does.
#include <tiffio.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "base/error.h"
#include "data/codecs.h"

namespace halftone::data {
namespace {

// What libtiff may ask for at once, besides the file's size: tables of its strips, codecs.
constexpr int64_t kTiffMostBytes = int64_t{64} << 20;
constexpr int kTiffPremultiplied = 1;  // of the tag ExtraSamples

struct TiffBytes {
  std::string_view all;
  uint64_t at = 0;
  char message[256] = "";
};

TiffBytes& bytes_of_tiff(thandle_t handle) {
  return *static_cast<TiffBytes*>(handle);
}
tmsize_t read_tiff_bytes(thandle_t handle, void* to, tmsize_t count) {
  TiffBytes& b = bytes_of_tiff(handle);
  if (b.at >= b.all.size() || count <= 0) return 0;
  const size_t got = std::min(static_cast<size_t>(count), b.all.size() - static_cast<size_t>(b.at));
  std::memcpy(to, b.all.data() + b.at, got);
  b.at += got;
  return static_cast<tmsize_t>(got);
}
tmsize_t write_no_tiff(thandle_t, void*, tmsize_t) {
  return 0;
}
toff_t seek_tiff(thandle_t handle, toff_t offset, int from) {
  TiffBytes& b = bytes_of_tiff(handle);
  b.at = (from == SEEK_SET ? 0 : from == SEEK_CUR ? b.at : b.all.size()) + offset;
  return b.at;
}
int close_tiff(thandle_t) {
  return 0;
}
toff_t size_of_tiff(thandle_t handle) {
  return bytes_of_tiff(handle).all.size();
}
// Its bytes are in memory already.
int map_tiff(thandle_t handle, void** base, toff_t* size) {
  TiffBytes& b = bytes_of_tiff(handle);
  *base = const_cast<char*>(b.all.data());  // libtiff writes only to what it opened for writing
  *size = b.all.size();
  return 1;
}
void unmap_tiff(thandle_t, void*, toff_t) {}

int keep_tiff_message(TIFF*, void* user, const char* /*module*/, const char* format, va_list args) {
  auto* bytes = static_cast<TiffBytes*>(user);
  if (bytes->message[0] == '\0') std::vsnprintf(bytes->message, sizeof bytes->message, format, args);
  return 1;
}
int ignore_tiff_message(TIFF*, void*, const char*, const char*, va_list) {
  return 1;
}

class TiffReader {
 public:
  TiffReader(std::string_view bytes, const std::string& name) : bytes_{bytes}, name_(name) {
    check_memory(static_cast<int64_t>(bytes.size()) + kCodecBytes);
    errno = 0;
    const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(TIFFOpenOptionsAlloc(),
                                                                                   TIFFOpenOptionsFree);
    if (!options) throw std::bad_alloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), static_cast<tmsize_t>(bytes.size()) + kTiffMostBytes);
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_tiff_message, &bytes_);
    TIFFOpenOptionsSetWarningHandlerExtR(options.get(), ignore_tiff_message, nullptr);
    // "r": read; "c": strips are not joined or cut.
    tiff_.reset(TIFFClientOpenExt("", "rc", &bytes_, read_tiff_bytes, write_no_tiff, seek_tiff, close_tiff,
                                  size_of_tiff, map_tiff, unmap_tiff, options.get()));
    check(tiff_ != nullptr);
    read_tags();
  }

  ImageHeader header() const {
    ImageHeader header{height_, width_, true};
    header.colour = photometric_ != PHOTOMETRIC_MINISWHITE && photometric_ != PHOTOMETRIC_MINISBLACK;
    header.working_bytes = part_bytes();
    return header;
  }

  // RGB.
  void read_pixels(uint8_t* out) {
    part_.resize(static_cast<size_t>(part_bytes()));
    if (planes_ == 1) {
      for (uint32_t part = 0; part < parts_; ++part) read_part(part, 0, out);
      return;
    }
    for (uint32_t part = 0; part < parts_ / static_cast<uint32_t>(samples_); ++part) {
      for (int64_t s = 0; s < samples_; ++s)
        read_raw(part + static_cast<uint32_t>(s) * (parts_ / static_cast<uint32_t>(samples_)), s);
      put_part(part, out);
    }
  }

 private:
  struct Close {
    void operator()(TIFF* t) const { TIFFClose(t); }
  };

  // Throws where a call of libtiff failed.
  void check(bool worked) const {
    if (errno == ENOMEM) throw std::bad_alloc();
    if (!worked)
      throw input_error("{}: damaged TIFF image: {}", name_,
                        bytes_.message[0] != '\0' ? bytes_.message : "it ends too early");
  }
  template <class... Args>
  [[noreturn]] void unknown(fmt::format_string<Args...> what, Args&&... args) const {
    throw input_error("{}: TIFF images with {} are not read; save it as PNG", name_,
                      fmt::format(what, std::forward<Args>(args)...));
  }

  uint32_t tag(uint32_t which) const {
    uint16_t value = 0;
    check(TIFFGetFieldDefaulted(tiff_.get(), which, &value) == 1);
    return value;
  }

  void read_tags() {
    TIFF* const t = tiff_.get();
    uint32_t width = 0, height = 0;
    check(TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &width) == 1 &&
          TIFFGetField(t, TIFFTAG_IMAGELENGTH, &height) == 1);
    height_ = height;
    width_ = width;
    check_image_size(height_, width_, bytes_.all.size(), name_);
    bits_ = tag(TIFFTAG_BITSPERSAMPLE);
    samples_ = tag(TIFFTAG_SAMPLESPERPIXEL);
    const uint32_t compression = tag(TIFFTAG_COMPRESSION);
    uint16_t photometric = PHOTOMETRIC_MINISBLACK;
    if (TIFFGetField(t, TIFFTAG_PHOTOMETRIC, &photometric) != 1) unknown("no photometric interpretation");
    photometric_ = photometric;
    switch (compression) {
      case COMPRESSION_NONE:
      case COMPRESSION_LZW:
      case COMPRESSION_PACKBITS:
      case COMPRESSION_ADOBE_DEFLATE:
      case COMPRESSION_DEFLATE:
      case COMPRESSION_CCITTRLE:
      case COMPRESSION_CCITTFAX3:
      case COMPRESSION_CCITTFAX4:
        break;
      case COMPRESSION_JPEG:
        if (bits_ != 8) unknown("JPEG of {} bits", bits_);
        break;
      default:
        unknown("compression {}", compression);
    }
    if (!TIFFIsCODECConfigured(static_cast<uint16_t>(compression))) unknown("compression {}", compression);
    if (tag(TIFFTAG_SAMPLEFORMAT) != SAMPLEFORMAT_UINT) unknown("numbers that are not unsigned integers");
    if (photometric_ == PHOTOMETRIC_YCBCR) {
      if (compression != COMPRESSION_JPEG || tag(TIFFTAG_PLANARCONFIG) != PLANARCONFIG_CONTIG)
        unknown("colours as YCbCr that are not JPEG");
      check(TIFFSetField(t, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB) == 1);
      photometric_ = PHOTOMETRIC_RGB;
    }
    read_colours();
    planes_ = tag(TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE ? samples_ : 1;
    read_parts();
  }

  void read_colours() {
    int64_t colours = 1;
    bool bits_fit = bits_ == 8 || bits_ == 16;
    switch (photometric_) {
      case PHOTOMETRIC_MINISWHITE:
      case PHOTOMETRIC_MINISBLACK:
        bits_fit = bits_fit || bits_ == 1 || bits_ == 2 || bits_ == 4;
        break;
      case PHOTOMETRIC_PALETTE:
        bits_fit = bits_ == 1 || bits_ == 2 || bits_ == 4 || bits_ == 8;
        check(TIFFGetField(tiff_.get(), TIFFTAG_COLORMAP, &palette_[0], &palette_[1], &palette_[2]) == 1);
        break;
      case PHOTOMETRIC_RGB:
        colours = 3;
        break;
      case PHOTOMETRIC_SEPARATED:
        if (tag(TIFFTAG_INKSET) != INKSET_CMYK) unknown("inks that are not CMYK");
        colours = 4;
        break;
      default:
        unknown("photometric interpretation {}", photometric_);
    }
    if (!bits_fit) unknown("photometric interpretation {} of {} bits", photometric_, bits_);
    if (samples_ < colours || samples_ > colours + 1 || (samples_ > 1 && bits_ < 8))
      unknown("{} numbers of {} bits a pixel, of which {} are colours", samples_, bits_, colours);
    uint16_t extra = 0;
    uint16_t* kinds = nullptr;
    if (TIFFGetField(tiff_.get(), TIFFTAG_EXTRASAMPLES, &extra, &kinds) == 1 && extra == 1 &&
        samples_ > colours && kinds[0] == kTiffPremultiplied) {
      if (photometric_ != PHOTOMETRIC_RGB) unknown("colours multiplied by alpha that are not RGB");
      premultiplied_ = true;
    }
  }

  void read_parts() {
    TIFF* const t = tiff_.get();
    tiled_ = TIFFIsTiled(t) != 0;
    uint32_t width = static_cast<uint32_t>(width_), height = static_cast<uint32_t>(height_);
    if (tiled_) {
      check(TIFFGetField(t, TIFFTAG_TILEWIDTH, &width) == 1 &&
            TIFFGetField(t, TIFFTAG_TILELENGTH, &height) == 1);
      // Larger than the picture by no more than a tile is as a rule.
      constexpr uint32_t kLargest = 1024;
      if (width == 0 || height == 0 ||
          width > std::max<uint32_t>(kLargest, 2 * static_cast<uint32_t>(width_)) ||
          height > std::max<uint32_t>(kLargest, 2 * static_cast<uint32_t>(height_)))
        unknown("tiles of {} x {} pixels in a picture of {} x {}", width, height, width_, height_);
    } else {
      check(TIFFGetFieldDefaulted(t, TIFFTAG_ROWSPERSTRIP, &height) == 1);
      height = std::clamp<uint32_t>(height, 1, static_cast<uint32_t>(height_));
    }
    part_height_ = height;
    part_width_ = width;
    parts_ = tiled_ ? TIFFNumberOfTiles(t) : TIFFNumberOfStrips(t);
    const int64_t across = (width_ + part_width_ - 1) / part_width_,
                  down = (height_ + part_height_ - 1) / part_height_;
    if (parts_ != across * down * planes_)
      throw input_error("{}: damaged TIFF image: {} parts, and not {}", name_, parts_,
                        across * down * planes_);
    row_bytes_ = (part_width_ * bits_ * (samples_ / planes_) + 7) / 8;
    const tmsize_t says = tiled_ ? TIFFTileSize(t) : TIFFStripSize(t);
    if (says != row_bytes_ * part_height_)
      throw input_error("{}: damaged TIFF image: parts of {} bytes, and not {}", name_, says,
                        row_bytes_ * part_height_);
  }

  int64_t plane_bytes() const { return row_bytes_ * part_height_; }
  int64_t part_bytes() const { return plane_bytes() * planes_; }

  void read_raw(uint32_t part, int64_t plane) {
    errno = 0;
    uint8_t* const to = part_.data() + plane * plane_bytes();
    // A last strip has fewer rows.
    const int64_t across = (width_ + part_width_ - 1) / part_width_;
    const int64_t in_plane = parts_ / planes_;
    const int64_t first_row = part % in_plane / across * part_height_;
    const int64_t rows = tiled_ ? part_height_ : std::min(part_height_, height_ - first_row);
    const auto wanted = static_cast<tmsize_t>(row_bytes_ * rows);
    const tmsize_t got = tiled_ ? TIFFReadEncodedTile(tiff_.get(), part, to, wanted)
                                : TIFFReadEncodedStrip(tiff_.get(), part, to, wanted);
    check(got == wanted);
  }
  void read_part(uint32_t part, int64_t plane, uint8_t* out) {
    read_raw(part, plane);
    put_part(part, out);
  }

  // The first byte of number `sample` at a pixel of the part: 8 bits as they are, of 16 the high ones, fewer as numbers.
  uint32_t number_at(int64_t row, int64_t column, int64_t sample) const {
    const bool planes = planes_ > 1;
    const uint8_t* from = part_.data() + (planes ? sample * plane_bytes() : 0) + row * row_bytes_;
    const int64_t index = planes ? column : column * samples_ + sample;
    if (bits_ == 8) return from[index];
    if (bits_ == 16) {
      uint16_t value = 0;
      std::memcpy(&value, from + 2 * index, sizeof value);
      return value >> 8;
    }
    const int64_t bit = index * bits_;
    return (from[bit / 8] >> (8 - bits_ - bit % 8)) & ((1U << bits_) - 1);
  }

  void put_part(uint32_t part, uint8_t* out) const {
    const int64_t across = (width_ + part_width_ - 1) / part_width_;
    const int64_t top = part / across * part_height_, left = part % across * part_width_;
    const int64_t rows = std::min(part_height_, height_ - top),
                  columns = std::min(part_width_, width_ - left);
    for (int64_t y = 0; y < rows; ++y)
      for (int64_t x = 0; x < columns; ++x) put_pixel(y, x, out + 3 * ((top + y) * width_ + left + x));
  }

  void put_pixel(int64_t y, int64_t x, uint8_t* rgb) const {
    const auto number = [&](int64_t sample) { return static_cast<uint8_t>(number_at(y, x, sample)); };
    switch (photometric_) {
      case PHOTOMETRIC_RGB:
        for (int64_t s = 0; s < 3; ++s) rgb[s] = number(s);
        if (premultiplied_) divide(number(3), rgb);
        return;
      case PHOTOMETRIC_SEPARATED:
        cmyk_to_rgb(number(0), number(1), number(2), number(3), rgb);
        return;
      case PHOTOMETRIC_PALETTE:
        for (size_t c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(palette_[c][number(0)] >> 8);
        return;
      default: {
        const uint32_t most = bits_ < 8 ? (1U << bits_) - 1 : 255;
        const uint32_t grey = number(0) * 255U / most;
        rgb[0] = rgb[1] = rgb[2] =
            static_cast<uint8_t>(photometric_ == PHOTOMETRIC_MINISWHITE ? 255 - grey : grey);
      }
    }
  }
  static void divide(uint8_t alpha, uint8_t* rgb) {
    if (alpha == 0 || alpha == 255) return;
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(std::min(255U, 255U * rgb[c] / alpha));
  }

  TiffBytes bytes_;
  const std::string& name_;
  std::unique_ptr<TIFF, Close> tiff_;
  int64_t height_ = 0, width_ = 0;
  int64_t bits_ = 0, samples_ = 0, planes_ = 1;
  uint32_t photometric_ = 0;
  bool premultiplied_ = false;
  uint16_t* palette_[3] = {};
  bool tiled_ = false;
  int64_t part_height_ = 0, part_width_ = 0, row_bytes_ = 0;
  uint32_t parts_ = 0;
  std::vector<uint8_t> part_;
};

}  // namespace

ImageHeader read_tiff_header(std::string_view bytes, const std::string& name) {
  return TiffReader(bytes, name).header();
}

void decode_tiff(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image) {
  TiffReader reader(bytes, name);
  make_room(reader.header(), wishes, image);
  reader.read_pixels(image.pixels.data());
  keep_channels(wishes.channels, image);
}

}  // namespace halftone::data
