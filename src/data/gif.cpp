// GIF by giflib: the first frame, as Pillow shows it. Where it leaves some of the screen free, this has the transparent
// colour, or the first.
#include <gif_lib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <vector>

#include "base/error.h"
#include "data/codecs.h"

namespace halftone::data {
namespace {

struct GifBytes {
  std::string_view rest;
};

int read_gif_bytes(GifFileType* file, GifByteType* to, int count) {
  auto* bytes = static_cast<GifBytes*>(file->UserData);
  const size_t got = std::min(bytes->rest.size(), static_cast<size_t>(std::max(count, 0)));
  std::memcpy(to, bytes->rest.data(), got);
  bytes->rest.remove_prefix(got);
  return static_cast<int>(got);
}

class GifReader {
 public:
  // Up to the first frame's pixels.
  GifReader(std::string_view bytes, const std::string& name)
      : bytes_{bytes}, name_(name), size_(bytes.size()) {
    int code = 0;
    errno = 0;
    file_ = DGifOpen(&bytes_, read_gif_bytes, &code);
    if (file_ == nullptr) fail(code);
    try {
      find_frame();
    } catch (...) {
      close();
      throw;
    }
  }
  ~GifReader() { close(); }
  GifReader(const GifReader&) = delete;
  GifReader& operator=(const GifReader&) = delete;

  ImageHeader header() const {
    ImageHeader header{height_, width_, true};
    header.working_bytes = width_;
    return header;
  }

  // RGB.
  void read_pixels(uint8_t* out) {
    errno = 0;
    const GifImageDesc& frame = file_->Image;
    const ColorMapObject* colours = frame.ColorMap != nullptr ? frame.ColorMap : file_->SColorMap;
    const auto put = [&](int index, uint8_t* to) {
      if (colours == nullptr) {  // greys, as Pillow has it
        to[0] = to[1] = to[2] = static_cast<uint8_t>(index);
        return;
      }
      if (index >= colours->ColorCount)
        throw input_error("{}: damaged GIF image: colour {} of {}", name_, index, colours->ColorCount);
      const GifColorType& colour = colours->Colors[index];
      to[0] = colour.Red;
      to[1] = colour.Green;
      to[2] = colour.Blue;
    };
    if (frame.Width != width_ || frame.Height != height_) {
      uint8_t around[3];
      put(transparent_.value_or(0), around);
      for (int64_t i = 0; i < height_ * width_; ++i) std::copy(around, around + 3, out + 3 * i);
    }
    std::vector<GifPixelType> line(static_cast<size_t>(frame.Width));
    // Of an interlaced picture every 8th line, those in the middle between them, and so on.
    constexpr int kFirst[] = {0, 4, 2, 1}, kEvery[] = {8, 8, 4, 2};
    for (int pass = 0; pass < (frame.Interlace ? 4 : 1); ++pass) {
      const int step = frame.Interlace ? kEvery[pass] : 1;
      for (int y = frame.Interlace ? kFirst[pass] : 0; y < frame.Height; y += step) {
        if (DGifGetLine(file_, line.data(), frame.Width) == GIF_ERROR) fail(file_->Error);
        uint8_t* to = out + 3 * ((frame.Top + y) * width_ + frame.Left);
        for (const GifPixelType index : line) {
          put(index, to);
          to += 3;
        }
      }
    }
  }

 private:
  [[noreturn]] void fail(int code) const {
    // giflib has other codes too for memory that it did not get.
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM || errno == ENOMEM) throw std::bad_alloc();
    const char* why = GifErrorString(code);
    throw input_error("{}: damaged GIF image: {}", name_, why != nullptr ? why : "it ends too early");
  }
  void close() {
    if (file_ != nullptr) DGifCloseFile(file_, nullptr);
    file_ = nullptr;
  }

  void find_frame() {
    for (;;) {
      GifRecordType type = UNDEFINED_RECORD_TYPE;
      if (DGifGetRecordType(file_, &type) == GIF_ERROR) fail(file_->Error);
      if (type == IMAGE_DESC_RECORD_TYPE) break;
      if (type == TERMINATE_RECORD_TYPE) throw input_error("{}: damaged GIF image: it has no frame", name_);
      if (type == EXTENSION_RECORD_TYPE) read_extension();
    }
    if (DGifGetImageDesc(file_) == GIF_ERROR) fail(file_->Error);
    const GifImageDesc& frame = file_->Image;
    width_ = std::max<int64_t>(file_->SWidth, int64_t{frame.Left} + frame.Width);
    height_ = std::max<int64_t>(file_->SHeight, int64_t{frame.Top} + frame.Height);
    if (frame.Width <= 0 || frame.Height <= 0)
      throw input_error("{}: damaged GIF image: its first frame has no pixels", name_);
    check_image_size(height_, width_, size_, name_);
  }

  void read_extension() {
    constexpr int kFlags = 1, kTransparent = 4;  // behind the length
    int code = 0;
    GifByteType* block = nullptr;
    if (DGifGetExtension(file_, &code, &block) == GIF_ERROR) fail(file_->Error);
    if (code == GRAPHICS_EXT_FUNC_CODE && block != nullptr && block[0] >= 4 && (block[kFlags] & 1) != 0)
      transparent_ = block[kTransparent];
    while (block != nullptr)
      if (DGifGetExtensionNext(file_, &block) == GIF_ERROR) fail(file_->Error);
  }

  GifBytes bytes_;
  const std::string& name_;
  size_t size_;
  GifFileType* file_ = nullptr;
  int64_t height_ = 0, width_ = 0;
  std::optional<int> transparent_;
};

}  // namespace

ImageHeader read_gif_header(std::string_view bytes, const std::string& name) {
  return GifReader(bytes, name).header();
}

void decode_gif(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image) {
  GifReader reader(bytes, name);
  make_room(reader.header(), wishes, image);
  reader.read_pixels(image.pixels.data());
  keep_channels(wishes.channels, image);
}

}  // namespace halftone::data
