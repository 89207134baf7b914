#include "data/transform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "data/files.h"
#include "num/random.h"
#include "tensor/tensor.h"

namespace halftone::data {
namespace {

constexpr int64_t kHeight = 5;
constexpr int64_t kWidth = 4;

struct Picture {
  // Two channels of distinct, non-zero bytes, channels last.
  Picture() {
    for (int64_t i = 0; i < 2 * kHeight * kWidth; ++i) bytes.push_back(static_cast<uint8_t>(i + 1));
    sample.pixels = {bytes.data(), 2, kHeight, kWidth, 1, 2 * kWidth, 2};
    info.image = true;
    info.shape = info.geometry = {2, kHeight, kWidth};
    info.source = "picture";
  }
  float at(int64_t c, int64_t y, int64_t x) const {
    const bool inside = y >= 0 && y < kHeight && x >= 0 && x < kWidth;
    return inside ? static_cast<float>(bytes[static_cast<size_t>((y * kWidth + x) * 2 + c)]) / 255.0F : 0.0F;
  }
  std::vector<float> apply(const TransformOptions& options, const Draws* draws) const {
    std::vector<float> out(static_cast<size_t>(elements(info.shape)));
    Transform::Scratch scratch;
    Transform(info, options).apply(sample, draws, scratch, out.data());
    return out;
  }
  std::vector<uint8_t> bytes;
  Sample sample;
  DataInfo info;
};

// What the documentation says, written down once more.
std::vector<float> documented(const Picture& picture, const Augmentation& augmentation, const Draws& d) {
  const num::RandomKey key = num::random_key(d.seed, kAugmentStream);
  const auto below = [&](uint64_t draw, int64_t n) {
    return static_cast<int64_t>(
        num::random_below(key, 64 * d.sample + draw, d.epoch, static_cast<uint64_t>(n)));
  };
  const bool flip = augmentation.flip && below(0, 2) == 1;
  const int64_t p = augmentation.crop_padding;
  const int64_t down = p > 0 ? below(1, 2 * p + 1) - p : 0;
  const int64_t right = p > 0 ? below(2, 2 * p + 1) - p : 0;
  std::vector<float> out;
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t y = 0; y < kHeight; ++y)
      for (int64_t x = 0; x < kWidth; ++x)
        out.push_back(picture.at(c, y + down, (flip ? kWidth - 1 - x : x) + right));
  return out;
}

TEST(Transform, WritesTheChannelsInTheOtherOrderWithTheirOwnNormalisation) {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 3 * 4; ++i) bytes.push_back(static_cast<uint8_t>(10 * i + 1));
  Sample sample;
  sample.pixels = {bytes.data(), 3, 2, 2, 1, 6, 3};
  DataInfo info;
  info.image = true;
  info.shape = info.geometry = {3, 2, 2};
  info.source = "picture";
  TransformOptions options;
  options.normalization = {{0.1F, 0.2F, 0.3F}, {0.5F, 0.6F, 0.7F}};
  Transform::Scratch scratch;
  std::vector<float> rgb(12);
  std::vector<float> bgr(12);
  std::vector<float> last(12);
  Transform(info, options).apply(sample, nullptr, scratch, rgb.data());
  options.bgr = true;
  Transform(info, options).apply(sample, nullptr, scratch, bgr.data());
  Transform(info, options, {DType::kF32, true}).apply(sample, nullptr, scratch, last.data());
  for (size_t c = 0; c < 3; ++c)
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(bgr[c * 4 + i], rgb[(2 - c) * 4 + i]);
      EXPECT_EQ(last[i * 3 + c], bgr[c * 4 + i]);
    }
  EXPECT_NE(rgb, bgr);
  EXPECT_THROW(Transform(Picture().info, options), Error);  // two channels
}

TEST(Transform, CropsAndFlipsAsDocumented) {
  const Picture picture;
  for (const int64_t padding : {0, 1, 4, 5}) {
    for (const bool flip : {false, true}) {
      TransformOptions options;
      options.augmentation = {.crop_padding = padding, .flip = flip};
      std::set<std::vector<float>> different;
      for (uint64_t i = 0; i < 64; ++i) {
        const Draws draws{3, i / 8, i};
        const std::vector<float> out = picture.apply(options, &draws);
        EXPECT_EQ(out, documented(picture, options.augmentation, draws)) << padding << flip << i;
        different.insert(out);
      }
      EXPECT_GE(different.size(), padding == 0 ? (flip ? 2U : 1U) : 8U);
    }
  }
}

TEST(Transform, ValuesAreCroppedAndFlippedAsImagesAre) {
  const Picture picture;
  DataInfo info = picture.info;
  info.image = false;
  Sample sample;
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t y = 0; y < kHeight; ++y)
      for (int64_t x = 0; x < kWidth; ++x) sample.values.push_back(picture.at(c, y, x));
  TransformOptions options;
  options.augmentation = {.crop_padding = 2, .flip = true};
  const Transform transform(info, options);
  Transform::Scratch scratch;
  std::vector<float> out(sample.values.size());
  for (uint64_t i = 0; i < 20; ++i) {
    const Draws draws{1, 0, i};
    transform.apply(sample, &draws, scratch, out.data());
    EXPECT_EQ(out, picture.apply(options, &draws));
  }
}

// A row in another type and order has the same numbers, rounded once.
TEST(Transform, WritesTheRowAsTheBatchHasIt) {
  const Picture picture;
  DataInfo values = picture.info;
  values.image = false;
  Sample of_values;
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t y = 0; y < kHeight; ++y)
      for (int64_t x = 0; x < kWidth; ++x) of_values.values.push_back(picture.at(c, y, x));
  TransformOptions options;
  options.normalization = {{0.3F, 0.1F}, {0.7F, 0.6F}};
  options.augmentation = {.crop_padding = 2, .flip = true};
  TransformOptions resized = options;
  resized.augmentation = {.crop_padding = 1, .flip = true, .random_resized_crop = true};
  const auto check = [&](const DataInfo& info, const Sample& sample, const TransformOptions& how) {
    const Transform plain(info, how);
    Transform::Scratch scratch;
    const auto count = static_cast<size_t>(elements(info.shape));
    for (const DType storage : {DType::kF32, DType::kF16, DType::kBf16})
      for (const bool last : {false, true}) {
        const Transform transform(info, how, {storage, last});
        for (uint64_t i = 0; i < 20; ++i) {
          const Draws draws{1, 0, i};
          Tensor wide(DType::kF32, {2, kHeight, kWidth});
          plain.apply(sample, &draws, scratch, wide.data());
          const Tensor rounded = converted(wide, storage);
          const Tensor expected = last ? transposed(rounded, {1, 2, 0}) : rounded.clone();
          Tensor row(storage, {static_cast<int64_t>(count) + 1});  // with a guard behind it
          std::memset(row.data(), 0x5A, static_cast<size_t>(row.bytes()));
          transform.apply(sample, &draws, scratch, row.data());
          const auto bytes = static_cast<size_t>(expected.bytes());
          EXPECT_EQ(std::memcmp(row.data(), expected.data(), bytes), 0) << name_of(storage) << last << i;
          EXPECT_EQ(static_cast<const uint8_t*>(row.data())[bytes], 0x5A);
        }
      }
  };
  check(picture.info, picture.sample, options);
  check(picture.info, picture.sample, resized);
  check(values, of_values, options);
}

TEST(Transform, OnlyImagesCanBeChannelsLast) {
  DataInfo info = Picture().info;
  EXPECT_TRUE(can_be_channels_last(info));
  info.channels_last = true;
  info.shape = {kHeight, kWidth, 2};
  EXPECT_FALSE(can_be_channels_last(info)) << "as they are already";
  info = Picture().info;
  info.shape = {2 * kHeight * kWidth};
  EXPECT_FALSE(can_be_channels_last(info)) << "flattened";
  info.geometry = {};
  EXPECT_FALSE(can_be_channels_last(info));
}

TEST(Transform, EvaluationIsNotAugmented) {
  const Picture picture;
  TransformOptions options;
  options.augmentation = {.crop_padding = 4, .flip = true, .random_resized_crop = true};
  EXPECT_EQ(picture.apply(options, nullptr), picture.apply({}, nullptr));
}

TEST(Transform, NormalisesEachChannel) {
  const Picture picture;
  TransformOptions options;
  options.normalization = {{0.5F, 0.25F}, {0.2F, 0.4F}};
  const std::vector<float> out = picture.apply(options, nullptr);
  EXPECT_EQ(out[5], (picture.at(0, 1, 1) - 0.5F) / 0.2F);
  EXPECT_EQ(out[25], (picture.at(1, 1, 1) - 0.25F) / 0.4F);
  options.normalization = {{0.5F}, {0.2F}};
  EXPECT_EQ(picture.apply(options, nullptr)[25], (picture.at(1, 1, 1) - 0.5F) / 0.2F);
}

TEST(Transform, RandomResizedCropsStayInsideAndVary) {
  // A picture whose value is its row: a crop's rows tell where it was.
  std::vector<uint8_t> bytes;
  for (int y = 0; y < 60; ++y) bytes.insert(bytes.end(), 40, static_cast<uint8_t>(100 + y));
  Sample sample;
  sample.pixels = {bytes.data(), 1, 60, 40, 0, 40, 1};
  DataInfo info;
  info.image = true;
  info.shape = info.geometry = {1, 8, 8};
  TransformOptions options;
  options.augmentation.random_resized_crop = true;
  const Transform transform(info, options);
  Transform::Scratch scratch;
  std::vector<float> out(64);
  std::set<float> tops;
  for (uint64_t i = 0; i < 200; ++i) {
    const Draws draws{9, 1, i};
    transform.apply(sample, &draws, scratch, out.data());
    for (const float v : out) ASSERT_TRUE(v >= 100 / 255.0F && v <= 159 / 255.0F);
    for (int y = 0; y < 7; ++y)
      ASSERT_LE(out[static_cast<size_t>(8 * y)], out[static_cast<size_t>(8 * y + 8)]);
    // Height at least sqrt(0.08 * 2400 * 3 / 4) = 12 rows.
    EXPECT_GE(out[56] - out[0], 9 / 255.0F);
    tops.insert(out[0]);
  }
  EXPECT_GT(tops.size(), 15U);
}

TEST(Transform, RefusesOptionsThatDoNotFit) {
  const Picture picture;
  const auto refused = [&](const TransformOptions& options, const std::string& part) {
    const std::string message = message_of([&] { Transform(picture.info, options); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  TransformOptions options;
  options.normalization.mean = {1, 2, 3};
  refused(options, "3 numbers are given as mean");
  options.normalization = {{0.5F}, {0.0F}};
  refused(options, "standard deviation 0");
  options = {};
  options.augmentation.crop_padding = -1;
  refused(options, "negative");
  options.augmentation.crop_padding = 6;
  refused(options, "more than the 5 x 4");
  options = {};
  options.resize = 4;
  refused(options, "does not hold");
  DataInfo flat;
  flat.shape = {7};
  options = {};
  options.augmentation.flip = true;
  EXPECT_NE(message_of([&] { Transform(flat, options); }).find("cannot be flipped"), std::string::npos);
  EXPECT_NE(message_of([&] { normalization_preset("imagenett"); }).find("there are imagenet, cifar10"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::data
