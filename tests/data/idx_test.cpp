#include "data/idx.h"

#include <gtest/gtest.h>

#include "data/files.h"

namespace halftone::data {
namespace {

constexpr uint8_t kBytes = 0x08;

struct Folder : TemporaryFolder {
  // Four pictures of 2 x 3 and their labels, as the train split; `zipped` for .gz.
  explicit Folder(bool zipped = false) {
    const std::string ending = zipped ? ".gz" : "";
    const auto pack = [&](const std::string& bytes) { return zipped ? gzip(bytes) : bytes; };
    pixels = noise(24, 3);
    images = write("train-images-idx3-ubyte" + ending, pack(idx(kBytes, {4, 2, 3}, pixels)));
    labels = write("train-labels-idx1-ubyte" + ending, pack(idx(kBytes, {4}, std::string("\3\0\1\2", 4))));
  }
  std::string pixels, images, labels;
};

void expect_four(const Dataset& set, const std::string& pixels) {
  ASSERT_EQ(set.size(), 4);
  EXPECT_EQ(set.info().kind, "IDX");
  EXPECT_EQ(set.info().shape, (Shape{1, 2, 3}));
  EXPECT_EQ(set.info().classes, 4);
  Sample sample;
  const int32_t labels[] = {3, 0, 1, 2};
  for (int64_t i = 0; i < 4; ++i) {
    set.read(i, sample);
    EXPECT_EQ(sample.label, labels[i]);
    for (int64_t p = 0; p < 6; ++p)
      EXPECT_EQ(sample.pixels.data[p], static_cast<uint8_t>(pixels[static_cast<size_t>(i * 6 + p)]));
  }
}

TEST(Idx, ReadsAFileAndItsLabelsBesideIt) {
  for (const bool zipped : {false, true}) {
    const Folder folder(zipped);
    expect_four(*open_dataset(folder.images, {}), folder.pixels);
    expect_four(*open_dataset(folder.path(), {}), folder.pixels);
  }
}

TEST(Idx, ReadsWhatWasCompressedInSeveralMembers) {
  const Folder folder;
  const std::string whole = idx(kBytes, {4, 2, 3}, folder.pixels);
  folder.write("train-images-idx3-ubyte", gzip(whole.substr(0, 10)) + gzip(whole.substr(10)));
  expect_four(*open_dataset(folder.path(), {}), folder.pixels);
}

TEST(Idx, HasTrainAndTestSplits) {
  const Folder folder;
  folder.write("t10k-images-idx3-ubyte", idx(kBytes, {1, 2, 3}, "abcdef"));
  folder.write("t10k-labels-idx1-ubyte", idx(kBytes, {1}, std::string(1, '\0')));
  EXPECT_EQ(splits_of(folder.path()).size(), 2U);
  EXPECT_EQ(open_dataset(folder.path() + "[test]", {})->size(), 1);
  EXPECT_EQ(open_dataset(folder.path(), {})->size(), 4);
  OpenOptions options;
  options.splits = {"val", "test"};
  EXPECT_EQ(open_dataset(folder.path(), options)->size(), 1);
  EXPECT_NE(message_of([&] { open_dataset(folder.path() + "[val]", {}); }).find("has no split val"),
            std::string::npos);
}

TEST(Idx, ReadsOtherTypesAsValues) {
  const TemporaryFolder folder;
  // Big-endian floats 1.5 and -2.
  const std::string path =
      folder.write("x-images-idx2-ubyte", idx(0x0D, {2, 1}, std::string("\x3F\xC0\0\0\xC0\0\0\0", 8)));
  folder.write("x-labels-idx1-ubyte", idx(kBytes, {2}, std::string("\1\0", 2)));
  const auto set = open_dataset(path, {});
  EXPECT_FALSE(set->info().image);
  Sample sample;
  set->read(0, sample);
  EXPECT_EQ(sample.values, std::vector<float>{1.5F});
  set->read(1, sample);
  EXPECT_EQ(sample.values, std::vector<float>{-2.0F});
}

TEST(Idx, BringsChannelsToWhatTheNetworkWants) {
  const Folder folder;
  OpenOptions options;
  options.sample_shape = {3, 2, 3};
  const auto set = open_dataset(folder.images, options);
  Sample sample;
  set->read(0, sample);
  EXPECT_EQ(sample.pixels.channels, 3);
  EXPECT_EQ(sample.pixels.channel_stride, 0);
  options.sample_shape = {6};
  const auto flat = open_dataset(folder.images, options);
  EXPECT_EQ(flat->info().shape, (Shape{6}));
  EXPECT_EQ(flat->info().geometry, (Shape{1, 2, 3}));
  options.sample_shape = {7};
  EXPECT_NE(message_of([&] { open_dataset(folder.images, options); }).find("wants 7 numbers"),
            std::string::npos);
}

struct Broken {
  const char* what;
  std::string images, labels, message;
};

TEST(Idx, NamesTheFileThatIsBroken) {
  const std::string good_labels = idx(kBytes, {4}, std::string(4, '\1'));
  const std::string good_images = idx(kBytes, {4, 2, 3}, noise(24, 1));
  const Broken cases[] = {
      {"cut off", good_images.substr(0, 30), good_labels,
       "images-idx3-ubyte: damaged IDX file: its dimensions say"},
      {"longer", good_images + "x", good_labels, "images-idx3-ubyte: damaged IDX file: its dimensions say"},
      {"within header", good_images.substr(0, 9), good_labels, "ends within its header"},
      {"another type", idx(0x0A, {4, 2, 3}, noise(24, 1)), good_labels, "element type 0x0a"},
      {"huge", idx(kBytes, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "abc"), good_labels, "no valid size"},
      {"large", idx(kBytes, {60000, 28, 28}, "abc"), good_labels, "47040016 bytes, but it has 19"},
      {"fewer labels", good_images, idx(kBytes, {3}, std::string(3, '\1')), "has 4 samples"},
      {"no samples", idx(kBytes, {0, 2, 3}, ""), idx(kBytes, {0}, ""), "holds no samples"},
      {"empty samples", idx(kBytes, {4, 0, 3}, ""), good_labels, "are empty"},
      {"pictures as labels", good_images, good_images, "labels are a list of numbers"},
      {"scalar", idx(kBytes, {}, "a"), good_labels, "a single number"},
      {"cut gzip", gzip(good_images).substr(0, 25), good_labels,
       "images-idx3-ubyte: the compressed data is cut off"},
      {"more gzip", gzip(good_images + "x"), good_labels, "holds more than the 40 bytes"},
      {"less gzip", gzip(good_images.substr(0, 39)), good_labels,
       "40 bytes of data are claimed, but it holds 39"},
      {"bomb", gzip(idx(kBytes, {60000, 28, 28}, "abc")), good_labels, "can hold"},
      {"after gzip", gzip(good_images) + "junk", good_labels, "images-idx3-ubyte: damaged compressed data"},
  };
  for (const Broken& c : cases) {
    const TemporaryFolder folder;
    const std::string path = folder.write("train-images-idx3-ubyte", c.images);
    folder.write("train-labels-idx1-ubyte", c.labels);
    const std::string message = message_of([&] { open_dataset(folder.path(), {}); });
    EXPECT_NE(message.find(c.message), std::string::npos) << c.what << ": " << message;
    EXPECT_NE(message.find(folder.path()), std::string::npos) << c.what << ": " << message;
  }
}

TEST(Idx, NamesALabelOutOfRangeOrSkipsIt) {
  const Folder folder;
  OpenOptions options;
  options.classes = 3;
  const std::string message = message_of([&] { open_dataset(folder.path(), options); });
  EXPECT_NE(message.find(
                "train-labels-idx1-ubyte, sample 0: the label 3 is out of range; the network has 3 classes"),
            std::string::npos)
      << message;
  options.skip_bad = true;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->size(), 3);
  EXPECT_EQ(set->info().skipped, 1);
  ASSERT_EQ(set->info().skipped_why.size(), 1U);
  Sample sample;
  set->read(0, sample);
  EXPECT_EQ(sample.label, 0);
}

TEST(Idx, NeedsALabelsFile) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a-images-idx3-ubyte", idx(kBytes, {4, 2, 3}, noise(24, 1)));
  EXPECT_NE(message_of([&] { open_dataset(path, {}); }).find("no labels file"), std::string::npos);
}

}  // namespace
}  // namespace halftone::data
