// Pixels against Pillow's: tests/fixtures/make_images.py.
#include "data/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "data/files.h"
#include "data/npy.h"
#include "data/resample.h"
#include "data/transform.h"
#include "data/zip.h"

namespace halftone::data {
namespace {

const char* const kNames[] = {"photo.jpg",
                              "444.jpg",
                              "422.jpg",
                              "progressive.jpg",
                              "grey.jpg",
                              "cmyk.jpg",
                              "restart.jpg",
                              "rgb.png",
                              "grey.png",
                              "alpha.png",
                              "grey-alpha.png",
                              "palette.png",
                              "palette-transparent.png",
                              "bits.png",
                              "grey2.png",
                              "grey4.png",
                              "rgb16.png",
                              "grey16.png",
                              "interlaced.png"};

struct Expected {
  Shape shape;
  std::vector<uint8_t> pixels;
};

Expected expected(const std::string& key) {
  const std::shared_ptr<const Bytes> file = file_bytes(fixture("images/expected.npz"));
  for (const ZipMember& member : read_zip(*file)) {
    if (member.name != key + ".npy") continue;
    const Array array = read_npy(
        open_member(file, member, kNpyPrefix, [&](const std::string& p) { return npy_total_bytes(p, key); }),
        key);
    Expected result{array.shape, std::vector<uint8_t>(static_cast<size_t>(array.bytes->size()))};
    array.bytes->read(0, array.bytes->size(), result.pixels.data());
    return result;
  }
  ADD_FAILURE() << key << " is not in expected.npz";
  return {};
}

Image decoded(const std::string& name, int64_t channels) {
  Image image;
  decode_image(read_file(fixture("images/" + name)), channels, name, image);
  return image;
}

TEST(Image, DecodesToPillowsColours) {
  for (const std::string name : kNames) {
    const Expected want = expected(name + ".rgb");
    const Image image = decoded(name, 3);
    EXPECT_EQ((Shape{image.height, image.width, 3}), want.shape) << name;
    EXPECT_TRUE(image.pixels == want.pixels) << name;
    EXPECT_GT(std::count_if(image.pixels.begin(), image.pixels.end(), [](uint8_t v) { return v > 0; }), 20)
        << name;
  }
}

TEST(Image, DecodesToPillowsGreys) {
  for (const std::string name : kNames) {
    const Expected want = expected(name + ".l");
    const Image image = decoded(name, 1);
    EXPECT_EQ((Shape{image.height, image.width}), want.shape) << name;
    EXPECT_TRUE(image.pixels == want.pixels) << name;
  }
}

TEST(Image, ReadsSizeAndColourFromTheHeader) {
  for (const std::string name : kNames) {
    const Image image = decoded(name, 3);
    const ImageHeader header = read_image_header(read_file(fixture("images/" + name)), name);
    EXPECT_EQ(header.height, image.height);
    EXPECT_EQ(header.width, image.width);
    EXPECT_EQ(header.colour, !name.starts_with("grey") && name != "bits.png") << name;
  }
}

// Cut anywhere: an error that names the file, or (only trailing bytes lost) the same pixels. Never other
// pixels.
TEST(Image, NoticesEveryCut) {
  for (const std::string name :
       {"photo.jpg", "progressive.jpg", "rgb.png", "palette.png", "interlaced.png"}) {
    const std::string bytes = read_file(fixture("images/" + name));
    const Image whole = decoded(name, 3);
    size_t failed = 0;
    for (size_t length = 0; length < bytes.size(); length += 7) {
      Image image;
      const std::string message =
          message_of([&] { decode_image(std::string_view(bytes).substr(0, length), 3, "cut.img", image); });
      if (message == "no error") {
        EXPECT_TRUE(image.pixels == whole.pixels) << name << " cut to " << length;
        EXPECT_GE(length + 16, bytes.size()) << name;
      } else {
        EXPECT_NE(message.find("cut.img"), std::string::npos) << message;
        ++failed;
      }
    }
    EXPECT_GT(failed, bytes.size() / 7 - 4) << name;
  }
}

// The same picture with another width or height written into its header.
std::string png_claiming(uint32_t width, uint32_t height) {
  std::string bytes = read_file(fixture("images/rgb.png"));
  for (int i = 0; i < 4; ++i) {
    bytes[static_cast<size_t>(16 + i)] = static_cast<char>(width >> (24 - 8 * i));
    bytes[static_cast<size_t>(20 + i)] = static_cast<char>(height >> (24 - 8 * i));
  }
  // The checksum of IHDR: type and 13 bytes.
  uint32_t crc = 0xFFFFFFFFU;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= static_cast<uint8_t>(bytes[i]);
    for (int k = 0; k < 8; ++k) crc = (crc & 1U) != 0 ? 0xEDB88320U ^ (crc >> 1) : crc >> 1;
  }
  crc = ~crc;
  for (int i = 0; i < 4; ++i) bytes[static_cast<size_t>(29 + i)] = static_cast<char>(crc >> (24 - 8 * i));
  return bytes;
}

TEST(Image, RefusesSizesThatTheFileCannotHold) {
  Image image;
  EXPECT_EQ(message_of([&] { decode_image(png_claiming(53, 37), 3, "p", image); }), "no error");
  EXPECT_NE(message_of([&] { decode_image(png_claiming(11000, 11000), 3, "p", image); }).find("can hold"),
            std::string::npos);
  EXPECT_NE(message_of([&] { decode_image(png_claiming(20000, 20000), 3, "p", image); }).find("at most"),
            std::string::npos);
  EXPECT_NE(message_of([&] { decode_image(png_claiming(4000000000, 2000000000), 3, "p", image); }),
            "no error");
  EXPECT_LT(image.pixels.capacity(), size_t{1} << 20);
  // JPEG: the size stands in the frame header (marker SOF0), height first.
  std::string jpeg = read_file(fixture("images/photo.jpg"));
  const size_t at = jpeg.find("\xFF\xC0");
  ASSERT_NE(at, std::string::npos);
  jpeg.replace(at + 5, 4, "\x2A\x00\x2A\x00", 4);
  EXPECT_NE(message_of([&] { decode_image(jpeg, 3, "j", image); }).find("can hold"), std::string::npos);
  EXPECT_LT(image.pixels.capacity(), size_t{1} << 20);
}

TEST(Image, RefusesOtherFiles) {
  Image image;
  EXPECT_NE(
      message_of([&] { decode_image("no image", 3, "a.jpg", image); }).find("a.jpg: not an image of a kind"),
      std::string::npos);
  EXPECT_NE(message_of([&] { decode_image("", 3, "e.jpg", image); }).find("e.jpg: the image file is empty"),
            std::string::npos);
}

std::vector<uint8_t> interleaved(const Sample::Pixels& p) {
  std::vector<uint8_t> out;
  for (int64_t y = 0; y < p.height; ++y)
    for (int64_t x = 0; x < p.width; ++x)
      for (int64_t c = 0; c < p.channels; ++c)
        out.push_back(p.data[y * p.row_stride + x * p.column_stride + c * p.channel_stride]);
  return out;
}

Sample::Pixels view(const Image& image) {
  return {image.pixels.data(),          image.channels, image.height, image.width, 1,
          image.width * image.channels, image.channels};
}

TEST(Resample, EqualsPillow) {
  const Image photo = decoded("photo.jpg", 3);
  Resampler resampler;
  struct Size {
    int64_t height, width;
  };
  for (const Size s :
       {Size{16, 16}, Size{37, 20}, Size{12, 53}, Size{80, 97}, Size{1, 1}, Size{74, 53}, Size{80, 20}}) {
    const std::string key = "resize_" + std::to_string(s.height) + "x" + std::to_string(s.width);
    const auto pixels = interleaved(resampler.resize(view(photo), {0, 0, 37, 53}, s.height, s.width));
    EXPECT_TRUE(pixels == expected(key).pixels) << key;
  }
  EXPECT_TRUE(interleaved(resampler.resize(view(photo), {3, 7, 27, 38}, 16, 16)) ==
              expected("resize_16x16_box").pixels);
}

TEST(Transform, ResizesAndCutsTheMiddleAsTorchvisionDoes) {
  const Image photo = decoded("photo.jpg", 3);
  struct Case {
    int64_t resize, size, option;
  };
  // The last: without the option, the shorter side becomes the size.
  for (const Case c : {Case{20, 16, 20}, Case{37, 37, 37}, Case{64, 33, 64}, Case{16, 16, 0}}) {
    DataInfo info;
    info.image = true;
    info.shape = info.geometry = {3, c.size, c.size};
    TransformOptions options;
    options.resize = c.option;
    const Transform transform(info, options);
    Sample sample;
    sample.pixels = view(photo);
    Transform::Scratch scratch;
    std::vector<float> out(static_cast<size_t>(elements(info.shape)));
    transform.apply(sample, nullptr, scratch, out.data());
    const std::string key = "center_" + std::to_string(c.resize) + "_" + std::to_string(c.size);
    const Expected want = expected(key);
    const auto plane = static_cast<size_t>(c.size * c.size);
    ASSERT_EQ(want.pixels.size(), 3 * plane);
    int64_t different = 0;
    for (size_t i = 0; i < plane; ++i)
      for (size_t ch = 0; ch < 3; ++ch)
        different += out[ch * plane + i] == static_cast<float>(want.pixels[3 * i + ch]) / 255.0F ? 0 : 1;
    EXPECT_EQ(different, 0) << key;
  }
}

}  // namespace
}  // namespace halftone::data
