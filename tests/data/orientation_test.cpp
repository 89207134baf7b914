// What EXIF says of a picture's orientation. Against Pillow: tests/long/images_vs_pillow.py.
#include "data/orientation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "data/dataset.h"
#include "data/files.h"

namespace halftone::data {
namespace {

std::string photo() {
  return read_file(fixture("images/photo.jpg"));
}

// A directory with a tag before the one that counts.
std::string exif(int orientation, bool big_endian) {
  const auto number = [&](uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i)
      text += static_cast<char>(value >> (8 * (big_endian ? bytes - 1 - i : i)));
    return text;
  };
  return (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) + number(2, 2) + number(0x0100, 2) +
         number(4, 2) + number(1, 4) + number(53, 4) + number(0x0112, 2) + number(3, 2) + number(1, 4) +
         number(static_cast<uint32_t>(orientation), 2) + number(0, 2) + number(0, 4);
}

std::string with_segment(const std::string& content) {
  const size_t length = content.size() + 2;
  std::string bytes = photo();
  return bytes.insert(
      2, std::string("\xFF\xE1") + static_cast<char>(length >> 8) + static_cast<char>(length) + content);
}

std::string turned_photo(int orientation, bool big_endian = true) {
  return with_segment(std::string("Exif\0\0", 6) + exif(orientation, big_endian));
}

Image decoded(const std::string& bytes, int64_t channels = 3, const ImageWishes& wishes = {}) {
  Image image;
  decode_image(bytes, channels, "photo.jpg", image, wishes);
  return image;
}

// Where the pixel at (y, x) of the upright picture is in the stored one, as EXIF defines it: by the visual places of row 0
// and column 0.
std::array<int64_t, 2> stored_place(int orientation, int64_t y, int64_t x, int64_t height, int64_t width) {
  switch (orientation) {
    case 2:
      return {y, width - 1 - x};
    case 3:
      return {height - 1 - y, width - 1 - x};
    case 4:
      return {height - 1 - y, x};
    case 5:  // row 0 is left, column 0 above
      return {x, y};
    case 6:  // row 0 is right, column 0 above
      return {height - 1 - x, y};
    case 7:  // row 0 is right, column 0 below
      return {height - 1 - x, width - 1 - y};
    case 8:  // row 0 is left, column 0 below
      return {x, width - 1 - y};
    default:
      return {y, x};
  }
}

TEST(Orientation, PicturesAreTurnedAsExifDefinesIt) {
  for (const int64_t channels : {1, 3}) {
    const Image stored = decoded(photo(), channels);
    for (int orientation = 1; orientation <= 8; ++orientation) {
      SCOPED_TRACE(orientation);
      const std::string bytes = turned_photo(orientation, orientation % 2 == 0);
      EXPECT_EQ(orientation_of(bytes), orientation);
      const Image image = decoded(bytes, channels);
      const ImageHeader header = read_image_header(bytes, "photo.jpg");
      ASSERT_EQ(image.height, orientation >= 5 ? stored.width : stored.height);
      ASSERT_EQ(image.width, orientation >= 5 ? stored.height : stored.width);
      EXPECT_EQ(header.height, image.height);
      EXPECT_EQ(header.width, image.width);
      int64_t different = 0;
      for (int64_t y = 0; y < image.height; ++y)
        for (int64_t x = 0; x < image.width; ++x) {
          const auto [row, column] = stored_place(orientation, y, x, stored.height, stored.width);
          for (int64_t c = 0; c < channels; ++c)
            different +=
                image.pixels[static_cast<size_t>((y * image.width + x) * channels + c)] ==
                        stored.pixels[static_cast<size_t>((row * stored.width + column) * channels + c)]
                    ? 0
                    : 1;
        }
      EXPECT_EQ(different, 0);
      EXPECT_EQ(image.pixels == stored.pixels, orientation == 1);
      EXPECT_TRUE(decoded(bytes, channels, {.size = {}, .turned = false}).pixels == stored.pixels);
      EXPECT_EQ(read_image_header(bytes, "photo.jpg", false).height, stored.height);
    }
  }
}

TEST(Orientation, OtherNumbersAndDamagedExifTurnNothing) {
  for (const int other : {0, 9, 255, 256}) EXPECT_EQ(orientation_of(turned_photo(other)), 1) << other;
  const std::string whole = exif(6, true);
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string bytes = with_segment(std::string("Exif\0\0", 6) + whole.substr(0, length));
    // The numbers behind the tag's own are not looked at.
    EXPECT_EQ(orientation_of(bytes), length < 34 ? 1 : 6) << length;
  }
  std::string far = whole;
  far.replace(4, 4, "\xFF\xFF\xFF\xFF");
  EXPECT_EQ(orientation_of(with_segment(std::string("Exif\0\0", 6) + far)), 1);
  EXPECT_EQ(orientation_of(with_segment("http://ns.adobe.com/xap/1.0/" + whole)), 1);
  const std::string bytes = turned_photo(6);
  for (size_t length = 0; length < 50; ++length)
    EXPECT_EQ(orientation_of(bytes.substr(0, length)), 1) << length;
}

TEST(Orientation, PngHasItInAChunkOfItsOwn) {
  const std::string png = read_file(fixture("images/rgb.png"));
  const std::string content = exif(8, false);
  std::string bytes = png;
  const std::string chunk = std::string("\0\0\0", 3) + static_cast<char>(content.size()) + "eXIf" + content;
  // Also behind the pixels; libspng is not asked, so that the check sum may be any.
  bytes.insert(png.size() - 12, chunk + "none");
  EXPECT_EQ(orientation_of(bytes), 8);
  EXPECT_EQ(orientation_of(png), 1);
}

TEST(Orientation, FoldersCountWhatTheyTurn) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("a/2.jpg", turned_photo(3));
  folder.write("b/1.jpg", turned_photo(4));
  OpenOptions options;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->info().turned, 2);
  ASSERT_EQ(set->info().notes.size(), 1U);
  EXPECT_NE(set->info().notes[0].find("2 of 3 images are turned as their EXIF says"), std::string::npos);
  options.exif_orientation = false;
  const auto stored = open_dataset(folder.path(), options);
  EXPECT_EQ(stored->info().turned, 0);
  ASSERT_EQ(stored->info().notes.size(), 1U);
  EXPECT_NE(stored->info().notes[0].find("2 of 3 images are not upright"), std::string::npos);
  Sample sample;
  for (int64_t i = 0; i < 3; ++i) {
    stored->read(i, sample);
    EXPECT_TRUE(std::equal(sample.buffer.begin(), sample.buffer.end(), decoded(photo()).pixels.begin()));
  }
  set->read(0, sample);
  EXPECT_FALSE(set->name(0).ends_with("a/1.jpg") && sample.buffer != decoded(photo()).pixels);
  folder.write("b/2.jpg", turned_photo(6));
  options.sample_shape = {3, -1, -1};
  // Sizes are those of the turned pictures: 37 x 53 among pictures of 53 x 37.
  EXPECT_EQ(message_of([&] { open_dataset(folder.path(), options); }), "no error");
  options.exif_orientation = true;
  EXPECT_NE(message_of([&] { open_dataset(folder.path(), options); }).find("b/2.jpg: the image has 37 x 53"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::data
