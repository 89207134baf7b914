// Changes to pictures: torchvision's definitions on numbers that can be checked by hand, and the same bits for the same
// draws. tests/long/augmentation_vs_torchvision.py compares whole pictures.
#include "data/pixels.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "data/series.h"
#include "data/transform.h"

namespace halftone::data {
namespace {

struct Picture {
  Picture(int64_t channels, int64_t height, int64_t width, std::vector<uint8_t> bytes) {
    scratch.picture = std::move(bytes);
    pixels = {scratch.picture.data(), channels, height, width, 1, width * channels, channels};
  }
  void apply(const char* name, double strength) { apply_operation(name, strength, pixels, scratch); }
  std::vector<int> row() const { return {scratch.picture.begin(), scratch.picture.end()}; }
  PixelScratch scratch;
  Sample::Pixels pixels;
};
using Row = std::vector<int>;

TEST(Pixels, OperationsAreTorchvisions) {
  const auto of = [](const char* name, double strength, std::vector<uint8_t> bytes, int64_t channels,
                     int64_t width) {
    const auto height = static_cast<int64_t>(bytes.size()) / channels / width;
    Picture p(channels, height, width, std::move(bytes));
    p.apply(name, strength);
    return p.row();
  };
  EXPECT_EQ(of("Brightness", 0.5, {10, 100, 200}, 1, 3), (Row{15, 150, 255}));
  // Mean 100: 0.5 x + 50.
  EXPECT_EQ(of("Contrast", -0.5, {0, 100, 200}, 1, 3), (Row{50, 100, 150}));
  // Grey of (100, 50, 200): trunc(29.89 + 29.35 + 22.8) = 82; half way to it.
  EXPECT_EQ(of("Color", -0.5, {100, 50, 200}, 3, 1), (Row{91, 66, 141}));
  EXPECT_EQ(of("Posterize", 4, {255, 129, 15}, 1, 3), (Row{240, 128, 0}));
  EXPECT_EQ(of("Solarize", 128, {127, 128, 255}, 1, 3), (Row{127, 127, 0}));
  EXPECT_EQ(of("AutoContrast", 0, {50, 100, 150}, 1, 3), (Row{0, 127, 255}));
  EXPECT_EQ(of("TranslateX", 1, {1, 2, 3, 4}, 1, 4), (Row{0, 1, 2, 3}));
  EXPECT_EQ(of("TranslateY", -1, {1, 2, 3, 4}, 1, 2), (Row{3, 4, 0, 0}));
  // Anticlockwise, as positive angles are.
  EXPECT_EQ(of("Rotate", 90, {1, 2, 3, 4, 5, 6, 7, 8, 9}, 1, 3), (Row{3, 6, 9, 2, 5, 8, 1, 4, 7}));
  EXPECT_EQ(of("Identity", 0, {1, 2}, 1, 2), (Row{1, 2}));
}

// For tests/long/augmentation_vs_torchvision.py, which compares them.
TEST(Pixels, WritesOperations) {
  const char* folder = std::getenv("HALFTONE_PIXELS_OUT");
  const std::vector<std::pair<const char*, double>> cases{
      {"ShearX", 0.2},     {"ShearX", -0.3}, {"ShearY", 0.15},  {"TranslateX", 5.7}, {"TranslateX", -3.2},
      {"TranslateY", 4.5}, {"Rotate", 17},   {"Rotate", -29},   {"Brightness", 0.4}, {"Brightness", -0.7},
      {"Color", 0.8},      {"Color", -0.5},  {"Contrast", 0.6}, {"Contrast", -0.4},  {"Sharpness", 0.9},
      {"Sharpness", -0.6}, {"Posterize", 5}, {"Solarize", 100}, {"AutoContrast", 0}, {"Equalize", 0},
      {"Hue", 0.1},        {"Hue", -0.25}};
  for (const auto& [name, strength] : cases) {
    constexpr int64_t kSide = 24;
    std::vector<uint8_t> bytes(kSide * kSide * 3);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>((i * 2654435761U >> 7) % 251);
    const std::vector<uint8_t> before = bytes;
    Picture p(3, kSide, kSide, std::move(bytes));
    p.apply(name, strength);
    EXPECT_NE(p.scratch.picture, before) << name;
    if (folder == nullptr) continue;
    std::ofstream file(fmt::format("{}/{}_{}.bin", folder, name, strength), std::ios::binary);
    file.write(reinterpret_cast<const char*>(p.scratch.picture.data()),
               static_cast<std::streamsize>(p.scratch.picture.size()));
  }
}

TEST(Pixels, TheSameDrawsGiveTheSameAndOthersOthers) {
  PixelChanges changes;
  changes.vertical_flip = true;
  changes.operations = 2;
  changes.strength = 15;
  changes.brightness = changes.contrast = changes.saturation = 0.4;
  changes.hue = 0.1;
  changes.rotation = 20;
  std::vector<uint8_t> bytes(16 * 16 * 3);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 % 251);
  const Sample::Pixels pixels{bytes.data(), 3, 16, 16, 1, 48, 3};
  const auto changed = [&](const Draws& draws) {
    PixelScratch scratch;
    changed_pixels(pixels, changes, draws, scratch);
    return scratch.picture;
  };
  const auto one = changed({1, 2, 3});
  EXPECT_EQ(one, changed({1, 2, 3}));
  EXPECT_NE(one, bytes);
  EXPECT_NE(one, changed({2, 2, 3}));
  EXPECT_NE(one, changed({1, 3, 3}));
  EXPECT_NE(one, changed({1, 2, 4}));
}

TEST(Pixels, ErasingTakesTorchvisionsShareOfTheArea) {
  int64_t hits = 0;
  for (uint64_t sample = 0; sample < 400; ++sample) {
    const Erased box = erased(32, 32, 0.25, {7, 0, sample});
    if (box.height == 0) continue;
    ++hits;
    const double area = static_cast<double>(box.height * box.width) / (32 * 32);
    // Sides are rounded: by half a pixel each of at least 3.
    EXPECT_GT(area, 0.02 * 0.7);
    EXPECT_LT(area, 0.33 * 1.2);
    EXPECT_TRUE(box.row >= 0 && box.row + box.height <= 32 && box.column >= 0 &&
                box.column + box.width <= 32);
  }
  // 100 expected; the deviation is sqrt(400 * 0.25 * 0.75) = 8.7, and a few fall outside in all attempts.
  EXPECT_GT(hits, 60);
  EXPECT_LT(hits, 140);
}

TEST(Series, AreTheFunctions) {
  for (double x = -1.9; x < 1.9; x += 0.1) EXPECT_NEAR(exponential_series(x), std::exp(x), 1e-14);
  for (double x = -3.14; x < 3.14; x += 0.1) {
    EXPECT_NEAR(sin_series(x), std::sin(x), 1e-13);
    EXPECT_NEAR(cos_series(x), std::cos(x), 1e-13);
  }
}

TEST(Transform, ErasesAndFlipsInTrainingAlone) {
  std::vector<uint8_t> bytes(8 * 8);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(3 * i + 1);
  DataInfo info;
  info.source = "test";
  info.image = true;
  info.shape = info.geometry = {1, 8, 8};
  TransformOptions options;
  options.augmentation.pixels.vertical_flip = true;
  options.augmentation.erase = 1;
  const Transform transform(info, options);
  Sample sample;
  sample.pixels = {bytes.data(), 1, 8, 8, 64, 8, 1};
  Transform::Scratch scratch;
  std::vector<float> plain(64);
  transform.apply(sample, nullptr, scratch, plain.data());
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(plain[i], static_cast<float>(bytes[i]) / 255.0F);
  int flipped = 0;
  int erased_ones = 0;
  for (uint64_t s = 0; s < 50; ++s) {
    const Draws draws{1, 0, s};
    std::vector<float> row(64);
    transform.apply(sample, &draws, scratch, row.data());
    bool is_flipped = false;
    for (size_t i = 0; i < 64; ++i) {
      const size_t other = (7 - i / 8) * 8 + i % 8;
      if (row[i] == 0) {
        ++erased_ones;
      } else {
        is_flipped = is_flipped || row[i] != plain[i];
        EXPECT_TRUE(row[i] == plain[i] || row[i] == plain[other]);
      }
    }
    flipped += is_flipped ? 1 : 0;
  }
  EXPECT_GT(flipped, 10);
  EXPECT_LT(flipped, 40);
  EXPECT_GT(erased_ones, 100);
}

}  // namespace
}  // namespace halftone::data
