#include "data/mask_folder.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "data/files.h"
#include "data/image.h"
#include "data/mask.h"

namespace halftone::data {
namespace {

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}
std::string png_chunk(const std::string& name, const std::string& content) {
  const std::string all = name + content;
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(all.data()), static_cast<uInt>(all.size()));
  return big_endian(static_cast<uint32_t>(content.size())) + all + big_endian(static_cast<uint32_t>(crc));
}
// A PNG of these numbers: colour type 0 (greys), 3 (a palette) or 2 (RGB, three numbers a pixel).
std::string mask_png(int64_t height, int64_t width, const std::vector<int>& values, int bits = 8,
                     int colour_type = 0) {
  std::string raw;
  const size_t numbers = static_cast<size_t>(width) * (colour_type == 2 ? 3 : 1);
  for (int64_t y = 0; y < height; ++y) {
    raw += '\0';
    std::string row((numbers * static_cast<size_t>(bits) + 7) / 8, '\0');
    for (size_t x = 0; x < numbers; ++x) {
      const int value = values.at(static_cast<size_t>(y) * numbers + x);
      if (bits == 16) {
        row[2 * x] = static_cast<char>(value >> 8);
        row[2 * x + 1] = static_cast<char>(value);
      } else {
        const size_t bit = x * static_cast<size_t>(bits);
        row[bit / 8] = static_cast<char>(row[bit / 8] | value << (8 - bits - static_cast<int>(bit % 8)));
      }
    }
    raw += row;
  }
  std::string packed(compressBound(raw.size()), '\0');
  uLongf size = packed.size();
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
           raw.size());
  packed.resize(size);
  const std::string header = big_endian(static_cast<uint32_t>(width)) +
                             big_endian(static_cast<uint32_t>(height)) + static_cast<char>(bits) +
                             static_cast<char>(colour_type) + std::string(3, '\0');
  return "\x89PNG\r\n\x1A\n" + png_chunk("IHDR", header) +
         (colour_type == 3 ? png_chunk("PLTE", std::string(3 << bits, '\x55')) : "") +
         png_chunk("IDAT", packed) + png_chunk("IEND", "");
}

// 37 x 53.
std::string photo() {
  return read_file(fixture("images/photo.jpg"));
}
std::vector<int> classes_of_photo() {
  std::vector<int> classes;
  for (int y = 0; y < 37; ++y)
    for (int x = 0; x < 53; ++x) classes.push_back(y == 0 && x == 0 ? 255 : (y / 5 + x / 7) % 4);
  return classes;
}

TEST(Masks, AreIndicesOrGreys) {
  const std::vector<int> values = {0, 1, 1, 0, 1, 1, 0, 0, 1, 0};
  for (const int type : {0, 3})
    for (const int bits : {1, 2, 4, 8}) {
      const Mask mask = decode_mask(mask_png(2, 5, values, bits, type), "m.png");
      EXPECT_EQ(mask.height, 2);
      EXPECT_EQ(mask.width, 5);
      EXPECT_TRUE(std::equal(values.begin(), values.end(), mask.classes.begin(), mask.classes.end()));
    }
  EXPECT_EQ(decode_mask(mask_png(1, 2, {300, 65535}, 16), "m.png").classes,
            (std::vector<uint16_t>{300, 65535}));
  const auto refused = [](const std::string& bytes) {
    return message_of([&] { decode_mask(bytes, "m.png"); });
  };
  EXPECT_NE(refused(mask_png(1, 1, {1, 2, 3}, 8, 2)).find("m.png: the mask has colours"), std::string::npos);
  EXPECT_NE(refused(read_file(fixture("images/grey-alpha.png"))).find("colours or alpha"), std::string::npos);
  EXPECT_NE(refused(photo()).find("masks are PNG files"), std::string::npos);
  EXPECT_NE(refused(mask_png(9, 9, std::vector<int>(81, 1)).substr(0, 50)).find("damaged PNG"),
            std::string::npos);
}

TEST(Masks, GiveAClassForEachPixel) {
  const TemporaryFolder folder;
  folder.write("images/a.jpg", photo());
  folder.write("images/deep/b.JPG", photo());
  folder.write("masks/a.png", mask_png(37, 53, classes_of_photo()));
  folder.write("masks/deep/b.png", mask_png(37, 53, std::vector<int>(37 * 53, 3)));
  folder.write("masks/c.png", mask_png(1, 1, {0}));
  const OpenOptions options;
  const auto set = open_dataset(folder.path(), options);
  const DataInfo& info = set->info();
  EXPECT_EQ(info.kind, "images with masks");
  EXPECT_EQ(info.labels, LabelKind::kPositions);
  EXPECT_EQ(info.reading.shape, (Shape{37, 53}));
  EXPECT_EQ(info.reading.ignored, 255);
  ASSERT_EQ(set->size(), 2);
  EXPECT_EQ(info.notes, (std::vector<std::string>{
                            "1 masks have no image and are left out",
                            "its masks have the classes 0, 1, 2, 3; 255 marks pixels that do not count"}));
  Sample sample;
  for (int again = 0; again < 2; ++again) {  // the second time from the cache
    set->read(0, sample);
    std::vector<int> want = classes_of_photo();
    want[0] = -1;
    EXPECT_TRUE(std::equal(want.begin(), want.end(), sample.labels.begin(), sample.labels.end())) << again;
    EXPECT_EQ(sample.pixels.height, 37);
  }
  set->read(1, sample);
  EXPECT_EQ(sample.labels, std::vector<int32_t>(37 * 53, 3));
  OpenOptions unlabelled;
  unlabelled.labels = false;
  EXPECT_EQ(open_dataset(folder.path(), unlabelled)->size(), 2);
}

// A mask is scaled and cut as its image is: where these are one picture, they stay one but for colours between.
TEST(Masks, FollowTheirImages) {
  const TemporaryFolder folder;
  // Blocks of 8 x 8 pixels, so that the nearest pixel of a half is certain.
  std::vector<int> values;
  for (int y = 0; y < 64; ++y)
    for (int x = 0; x < 96; ++x) values.push_back((y / 8 * 3 + x / 8) % 11 * 20);
  const std::string picture = mask_png(64, 96, values);
  folder.write("train/images/a.png", picture);
  folder.write("train/masks/a.png", picture);
  folder.write("val/images/a.png", picture);
  folder.write("val/masks/a.png", picture);
  EXPECT_EQ(splits_of(folder.path()), (std::vector<std::string>{"train", "val"}));
  OpenOptions options;
  options.sample_shape = {1, 32, 32};
  const auto set = open_dataset(folder.path() + "[val]", options);
  Sample sample;
  set->read(0, sample);
  ASSERT_EQ(sample.pixels.height, 32);
  ASSERT_EQ(sample.pixels.width, 32);
  ASSERT_EQ(sample.labels.size(), 32U * 32U);
  int64_t same = 0;
  for (size_t y = 0; y < 32; ++y)
    for (size_t x = 0; x < 32; ++x) {
      // Halved, and 16 of the 96 columns are gone on each side: 8 of the 48.
      EXPECT_EQ(sample.labels[32 * y + x], values[(2 * y + 1) * 96 + 2 * (x + 8) + 1]);
      same += sample.labels[32 * y + x] == sample.pixels.data[32 * y + x] ? 1 : 0;
    }
  EXPECT_GE(same, 32 * 32 / 4);  // the inner 2 x 2 of each block of 4 x 4
}

TEST(Masks, AreAskedForByName) {
  const TemporaryFolder folder;
  const OpenOptions options;
  const auto says = [&](const std::string& what) {
    const std::string message = message_of([&] {
      const auto set = open_dataset(folder.path(), options);
      Sample sample;
      set->read(0, sample);
    });
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  folder.write("images/a.jpg", photo());
  folder.write("masks/b.png", mask_png(37, 53, classes_of_photo()));
  says("there is no mask for " + folder.path() + "/images/a.jpg; expected " + folder.path() + "/masks/a.png");
  folder.write("masks/a.png", mask_png(53, 37, classes_of_photo()));
  says("masks/a.png: the mask has 37 x 53 pixels, but its image (" + folder.path() +
       "/images/a.jpg) has 53 x 37");
  folder.write("masks/a.png", mask_png(37, 53, classes_of_photo()));
  folder.write("images/a.png", photo());
  says("two images are called a");
}

TEST(Masks, ClassesOutOfRangeAreNamed) {
  const TemporaryFolder folder;
  folder.write("images/train/a.jpg", photo());
  folder.write("masks/train/a.png", mask_png(37, 53, classes_of_photo()));
  folder.write("images/val/a.jpg", photo());
  folder.write("masks/val/a.png", mask_png(37, 53, classes_of_photo()));
  OpenOptions options;
  options.classes = 3;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->size(), 1);
  EXPECT_EQ(splits_of(folder.path()), (std::vector<std::string>{"train", "val"}));
  Sample sample;
  const std::string message = message_of([&] { set->read(0, sample); });
  EXPECT_NE(message.find("masks/train/a.png, row 0, column 21: the label 3 is out of range"),
            std::string::npos)
      << message;
}

}  // namespace
}  // namespace halftone::data
