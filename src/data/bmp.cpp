// BMP, by a reader of our own: no library that Debian has reads it alone. Known are the headers of Windows (40, 52, 56, 108
// and 124 bytes) and OS/2's first (12), with 1, 4 or 8 bits (a palette), 16, 24 or 32 bits, runs (RLE4, RLE8) and the usual
// bit fields. Everything else is refused by name. Alpha is dropped.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/byte_order.h"
#include "data/codecs.h"

namespace halftone::data {
namespace {

constexpr int64_t kBmpHeaderBytes = 14;
enum BmpCompression : uint32_t { kBmpRaw = 0, kBmpRuns8 = 1, kBmpRuns4 = 2, kBmpFields = 3 };

struct Bmp {
  std::string_view bytes;
  int64_t height = 0, width = 0;
  bool from_top = false;
  int64_t bits = 0;
  uint32_t compression = kBmpRaw;
  std::array<uint32_t, 3> masks = {};  // red, green, blue
  int64_t palette = 0;                 // where it is
  int64_t colours = 0;                 // in it; 0: there is none
  int64_t colour_bytes = 4;            // of each
  int64_t pixels = 0;                  // where they are

  uint32_t number(int64_t at, int count) const {
    return number_in(bytes, static_cast<size_t>(at), static_cast<size_t>(count), /*big_endian=*/false);
  }
  int64_t size() const { return static_cast<int64_t>(bytes.size()); }
};

template <class... Args>
[[noreturn]] void damaged_bmp(const std::string& name, fmt::format_string<Args...> why, Args&&... args) {
  throw input_error("{}: damaged BMP image: {}", name, fmt::format(why, std::forward<Args>(args)...));
}
template <class... Args>
[[noreturn]] void unknown_bmp(const std::string& name, fmt::format_string<Args...> what, Args&&... args) {
  throw input_error("{}: BMP images with {} are not read; save it as PNG", name,
                    fmt::format(what, std::forward<Args>(args)...));
}

// Reads the sizes; the bytes where header and masks end.
int64_t read_bmp_sizes(Bmp& bmp, const std::string& name) {
  if (bmp.size() < kBmpHeaderBytes + 4) damaged_bmp(name, "it ends too early");
  const int64_t header = bmp.number(kBmpHeaderBytes, 4);
  if (header != 12 && header != 40 && header != 52 && header != 56 && header != 108 && header != 124)
    unknown_bmp(name, "a header of {} bytes", header);
  int64_t end = kBmpHeaderBytes + header;
  if (bmp.size() < end) damaged_bmp(name, "it ends too early");
  constexpr int64_t kAt = kBmpHeaderBytes;
  uint32_t planes = 0;
  if (header == 12) {
    bmp.width = bmp.number(kAt + 4, 2);
    bmp.height = bmp.number(kAt + 6, 2);
    planes = bmp.number(kAt + 8, 2);
    bmp.bits = bmp.number(kAt + 10, 2);
    bmp.colour_bytes = 3;
  } else {
    bmp.width = static_cast<int32_t>(bmp.number(kAt + 4, 4));
    bmp.height = static_cast<int32_t>(bmp.number(kAt + 8, 4));
    bmp.from_top = bmp.height < 0;
    bmp.height = std::abs(bmp.height);
    planes = bmp.number(kAt + 12, 2);
    bmp.bits = bmp.number(kAt + 14, 2);
    bmp.compression = bmp.number(kAt + 16, 4);
    bmp.colours = bmp.number(kAt + 32, 4);
  }
  if (planes != 1) unknown_bmp(name, "{} planes", planes);
  if (bmp.compression == kBmpFields) {
    // Behind a header of 40 bytes, in the place of the same number in a longer one.
    if (header == 40) end += 12;
    if (header == 12 || bmp.size() < end) damaged_bmp(name, "it ends too early");
    for (int i = 0; i < 3; ++i) bmp.masks[static_cast<size_t>(i)] = bmp.number(kAt + 40 + 4 * i, 4);
  }
  return end;
}

void check_known_bmp(const Bmp& bmp, const std::string& name) {
  const bool palette = bmp.bits == 1 || bmp.bits == 4 || bmp.bits == 8;
  const bool colours = bmp.bits == 16 || bmp.bits == 24 || bmp.bits == 32;
  if (!palette && !colours) unknown_bmp(name, "{} bits a pixel", bmp.bits);
  const bool fits = bmp.compression == kBmpRaw || (bmp.compression == kBmpRuns8 && bmp.bits == 8) ||
                    (bmp.compression == kBmpRuns4 && bmp.bits == 4) ||
                    (bmp.compression == kBmpFields && (bmp.bits == 16 || bmp.bits == 32));
  if (!fits) unknown_bmp(name, "compression {} and {} bits a pixel", bmp.compression, bmp.bits);
  if (bmp.from_top && bmp.compression != kBmpRaw && bmp.compression != kBmpFields)
    unknown_bmp(name, "runs from the top");
}

Bmp open_bmp(std::string_view bytes, const std::string& name) {
  Bmp bmp;
  bmp.bytes = bytes;
  const int64_t end = read_bmp_sizes(bmp, name);
  check_known_bmp(bmp, name);
  check_image_size(bmp.height, bmp.width, bytes.size(), name);
  bmp.pixels = bmp.number(10, 4);
  if (bmp.bits > 8) {
    bmp.colours = 0;  // one for displays of few colours
  } else {
    if (bmp.colours == 0) bmp.colours = int64_t{1} << bmp.bits;
    if (bmp.colours > int64_t{1} << bmp.bits)
      damaged_bmp(name, "{} colours with {} bits a pixel", bmp.colours, bmp.bits);
    bmp.palette = end;
  }
  const int64_t first = end + bmp.colours * bmp.colour_bytes;
  // Some writers forget the palette.
  if (bmp.colours > 0 && bmp.pixels == end) bmp.pixels = first;
  if (bmp.pixels < first)
    damaged_bmp(name, "its pixels begin at byte {}, within what stands before them", bmp.pixels);
  if (bmp.pixels > bmp.size()) damaged_bmp(name, "it ends too early");
  return bmp;
}

// Where a colour of a pixel of 16 or 32 bits is.
struct BmpField {
  int shift = 0;
  uint32_t most = 0;
};

std::array<BmpField, 3> fields_of_bmp(const Bmp& bmp, const std::string& name) {
  using Masks = std::array<uint32_t, 3>;
  constexpr Masks k555 = {0x7C00, 0x3E0, 0x1F}, k565 = {0xF800, 0x7E0, 0x1F};
  Masks masks = bmp.masks;
  if (bmp.compression == kBmpRaw) masks = bmp.bits == 16 ? k555 : Masks{0xFF0000, 0xFF00, 0xFF};
  std::array<BmpField, 3> fields;
  uint32_t all = 0;
  for (size_t c = 0; c < 3; ++c) {
    BmpField& field = fields[c];
    uint32_t mask = masks[c];
    while (mask != 0 && (mask & 1) == 0) {
      mask >>= 1;
      ++field.shift;
    }
    field.most = mask;
    const bool whole = bmp.bits == 16 ? masks == k555 || masks == k565 : mask == 0xFF && field.shift % 8 == 0;
    if (!whole || (all & masks[c]) != 0)
      unknown_bmp(name, "the bit fields {:#x}, {:#x}, {:#x}", masks[0], masks[1], masks[2]);
    all |= masks[c];
  }
  return fields;
}

// The row of the picture that is `y`-th in the file.
int64_t row_of_bmp(const Bmp& bmp, int64_t y) {
  return bmp.from_top ? y : bmp.height - 1 - y;
}

std::vector<uint8_t> colours_of_bmp(const Bmp& bmp) {
  std::vector<uint8_t> colours;
  for (int64_t i = 0; i < bmp.colours; ++i) {
    const int64_t at = bmp.palette + i * bmp.colour_bytes;
    for (int c = 2; c >= 0; --c) colours.push_back(static_cast<uint8_t>(bmp.number(at + c, 1)));
  }
  return colours;
}

void put_bmp_colour(const std::vector<uint8_t>& colours, int64_t index, const std::string& name,
                    uint8_t* to) {
  if (3 * index >= static_cast<int64_t>(colours.size()))
    damaged_bmp(name, "colour {} of {}", index, colours.size() / 3);
  std::copy_n(colours.begin() + 3 * index, 3, to);
}

void read_bmp_rows(const Bmp& bmp, const std::string& name, uint8_t* out) {
  const int64_t row_bytes = (bmp.width * bmp.bits + 31) / 32 * 4;
  // What fills up the last row may be missing.
  if (bmp.pixels + row_bytes * (bmp.height - 1) + (bmp.width * bmp.bits + 7) / 8 > bmp.size())
    damaged_bmp(name, "it ends too early");
  const std::vector<uint8_t> colours = colours_of_bmp(bmp);
  const auto fields = bmp.bits == 16 || bmp.bits == 32 ? fields_of_bmp(bmp, name) : std::array<BmpField, 3>{};
  for (int64_t y = 0; y < bmp.height; ++y) {
    const int64_t row = bmp.pixels + y * row_bytes;
    uint8_t* to = out + 3 * row_of_bmp(bmp, y) * bmp.width;
    for (int64_t x = 0; x < bmp.width; ++x, to += 3) {
      if (bmp.bits <= 8) {
        const int64_t bit = x * bmp.bits;
        const uint32_t byte = bmp.number(row + bit / 8, 1);
        const uint32_t most = (1U << bmp.bits) - 1;
        put_bmp_colour(colours, (byte >> (8 - bmp.bits - bit % 8)) & most, name, to);
      } else if (bmp.bits == 24) {
        for (int c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>(bmp.number(row + 3 * x + 2 - c, 1));
      } else {
        const int bytes = static_cast<int>(bmp.bits / 8);
        const uint32_t pixel = bmp.number(row + bytes * x, bytes);
        for (size_t c = 0; c < 3; ++c)
          to[c] = static_cast<uint8_t>(((pixel >> fields[c].shift) & fields[c].most) * 255 / fields[c].most);
      }
    }
  }
}

// What no run names has the first colour.
void read_bmp_runs(const Bmp& bmp, const std::string& name, uint8_t* out) {
  const std::vector<uint8_t> colours = colours_of_bmp(bmp);
  for (int64_t i = 0; i < bmp.height * bmp.width; ++i) put_bmp_colour(colours, 0, name, out + 3 * i);
  const bool halves = bmp.compression == kBmpRuns4;
  int64_t at = bmp.pixels, x = 0, y = 0;
  const auto next = [&] {
    if (at >= bmp.size()) damaged_bmp(name, "it ends too early");
    return static_cast<int64_t>(bmp.number(at++, 1));
  };
  const auto put = [&](int64_t index) {
    if (x >= bmp.width || y >= bmp.height) damaged_bmp(name, "a run leaves the picture at row {}", y);
    put_bmp_colour(colours, index, name, out + 3 * (row_of_bmp(bmp, y) * bmp.width + x++));
  };
  for (;;) {
    const int64_t count = next(), value = next();
    if (count > 0) {
      for (int64_t i = 0; i < count; ++i) put(!halves ? value : i % 2 == 0 ? value >> 4 : value & 15);
    } else if (value == 0) {  // the end of a row
      x = 0;
      ++y;
    } else if (value == 1) {  // of the picture
      return;
    } else if (value == 2) {  // right and up
      x += next();
      y += next();
    } else {
      const int64_t bytes = halves ? (value + 1) / 2 : value;
      for (int64_t i = 0; i < bytes; ++i) {
        const int64_t byte = next();
        put(halves ? byte >> 4 : byte);
        if (halves && 2 * i + 1 < value) put(byte & 15);
      }
      at += bytes % 2;
    }
    // Some writers leave the end out.
    const bool full = y >= bmp.height || (y == bmp.height - 1 && x >= bmp.width);
    if (full && at >= bmp.size()) return;
  }
}

ImageHeader header_of_bmp(const Bmp& bmp) {
  return {bmp.height, bmp.width, true};
}

}  // namespace

ImageHeader read_bmp_header(std::string_view bytes, const std::string& name) {
  return header_of_bmp(open_bmp(bytes, name));
}

void decode_bmp(std::string_view bytes, const CodecWishes& wishes, const std::string& name, Image& image) {
  const Bmp bmp = open_bmp(bytes, name);
  make_room(header_of_bmp(bmp), wishes, image);
  if (bmp.compression == kBmpRuns4 || bmp.compression == kBmpRuns8) {
    read_bmp_runs(bmp, name, image.pixels.data());
  } else {
    read_bmp_rows(bmp, name, image.pixels.data());
  }
  keep_channels(wishes.channels, image);
}

}  // namespace halftone::data
