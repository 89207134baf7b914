// Large pictures: decoded scaled, a few at a time, and kept at the size used.
#include <gtest/gtest.h>
#include <jpeglib.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "data/dataset.h"
#include "data/files.h"
#include "data/image.h"
#include "data/loader.h"
#include "data/resample.h"

namespace halftone::data {
namespace {

// A picture of slow and fast waves.
std::string jpeg(int height, int width, bool progressive = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;  // NOLINT: libjpeg's type
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 90, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  std::vector<unsigned char> row(static_cast<size_t>(width) * 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c)
        row[static_cast<size_t>(3 * x + c)] = static_cast<unsigned char>(
            128 + (x * (c + 1) / 16 + y / 8) % 100 - 50 + (x * 7 + y * 13) % 40 - 20);
    JSAMPROW p = row.data();
    jpeg_write_scanlines(&info, &p, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string bytes(reinterpret_cast<const char*>(out), size);
  std::free(out);
  return bytes;
}

TEST(JpegReduction, LeavesFourTimesWhatIsWantedAndSmallImagesAlone) {
  EXPECT_EQ(jpeg_reduction(3000, 4000, {224, 224}), 2);  // 12 megapixels
  EXPECT_EQ(jpeg_reduction(4000, 6000, {224, 224}), 4);
  EXPECT_EQ(jpeg_reduction(3000, 4000, {32, 32}), 8);
  EXPECT_EQ(jpeg_reduction(3000, 4000, {375, 500}), 2);
  EXPECT_EQ(jpeg_reduction(3000, 4000, {376, 500}), 1);
  EXPECT_EQ(jpeg_reduction(2048, 2048, {32, 32}), 1);  // 4 megapixels and less: as ever
  EXPECT_EQ(jpeg_reduction(375, 500, {32, 32}), 1);
  EXPECT_EQ(jpeg_reduction(8000, 8000, {}), 1);
}

TEST(LargeImage, IsDecodedScaledToNearlyTheSamePicture) {
  struct Case {
    int height, width;
    bool progressive;
    int tolerance;
  };
  // Two roundings more, where an eighth is a whole number. Where it is not, the last row and column stand for
  // a part of their pixels: the far corner is shifted by up to 7 pixels of 2051, a fifth of one of 64, and
  // the picture's steps are 100 + 40.
  for (const auto& [height, width, progressive, tolerance] :
       {Case{2056, 2408, false, 3}, Case{2056, 2408, true, 3}, Case{2051, 2403, false, 31}}) {
    const std::string bytes = jpeg(height, width, progressive);
    Image whole;
    Image scaled;
    decode_image(bytes, 3, "j", whole);
    decode_image(bytes, 3, "j", scaled, {{64, 64}});
    ASSERT_EQ(whole.height, height);
    ASSERT_EQ(scaled.height, 257);  // an eighth, rounded up
    ASSERT_EQ(scaled.width, 301);
    EXPECT_EQ(scaled.pixels.size(), 3U * 257 * 301);
    const auto resized = [](const Image& image, Resampler& r) {
      const Sample::Pixels p{image.pixels.data(), 3, image.height, image.width, 1, image.width * 3, 3};
      return r.resize(p, {0, 0, image.height, image.width}, 64, 64);
    };
    Resampler a;
    Resampler b;
    const Sample::Pixels of_whole = resized(whole, a);
    const Sample::Pixels of_scaled = resized(scaled, b);
    int largest = 0;
    int range = 0;
    for (int i = 0; i < 3 * 64 * 64; ++i) {
      largest = std::max(largest, std::abs(int{of_whole.data[i]} - int{of_scaled.data[i]}));
      range = std::max(range, std::abs(int{of_whole.data[i]} - int{of_whole.data[0]}));
    }
    EXPECT_LE(largest, tolerance);
    EXPECT_GT(range, 30);  // or the test shows nothing
  }
}

TEST(LargeImage, TheCacheKeepsItAtTheSizeUsedAndChangesNoBatch) {
  TemporaryFolder folder;
  for (const char* name : {"a/0.jpg", "b/0.jpg"}) folder.write(name, jpeg(301, 402 + name[0] % 2 * 50));
  folder.write("a/1.jpg", jpeg(20, 30));  // which is made larger
  folder.write("b/1.jpg", jpeg(32, 32));
  const auto batches = [&](int64_t cache, int64_t resize, bool crops) {
    OpenOptions options;
    options.sample_shape = {3, 32, 32};
    options.cache_bytes = cache;
    options.resize = resize;
    options.random_crops = crops;
    LoaderOptions loader;
    loader.batch = 4;
    loader.threads = 1;
    loader.transform.resize = resize;
    loader.transform.augmentation.random_resized_crop = crops;
    Loader all(open_dataset(folder.path(), options), loader);
    std::vector<float> out;
    for (const int64_t epoch : {0, 1, 1}) {
      all.start(epoch);
      Batch batch;
      while (all.next(batch))
        out.insert(out.end(), batch.fields[0].data.as<float>().begin(),
                   batch.fields[0].data.as<float>().end());
    }
    return out;
  };
  for (const int64_t resize : {0, 40})
    for (const bool crops : {false, true}) {
      const std::vector<float> without = batches(0, resize, crops);
      ASSERT_EQ(without.size(), 3U * 4 * 3 * 32 * 32);
      EXPECT_EQ(batches(1 << 30, resize, crops), without);
      EXPECT_EQ(batches(20'000, resize, crops), without);  // room for some
    }
}

TEST(DecodeLease, LargeImagesTogetherTakeNoMoreThanTheBudget) {
  std::atomic<int64_t> taken{0};
  std::atomic<int64_t> most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const DecodeLease lease(int64_t{100} << 20);
        const int64_t now = taken += int64_t{100} << 20;
        int64_t seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        taken -= int64_t{100} << 20;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, kDecodeBudgetBytes);
  { const DecodeLease alone(int64_t{1} << 40); }
  DecodeLease moved(int64_t{200} << 20);
  moved = DecodeLease();
  const DecodeLease next(int64_t{200} << 20);
}

}  // namespace
}  // namespace halftone::data
