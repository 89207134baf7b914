#include "data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "base/error.h"
#include "data/files.h"

namespace halftone::data {
namespace {

constexpr int64_t kSamples = 103;

// 103 random pictures of 6 x 5 with labels i mod 7.
std::shared_ptr<const Dataset> pictures(const TemporaryFolder& folder) {
  std::string labels;
  for (int64_t i = 0; i < kSamples; ++i) labels += static_cast<char>(i % 7);
  const std::string path =
      folder.write("train-images-idx3-ubyte", idx(0x08, {kSamples, 6, 5}, noise(kSamples * 30, 1)));
  folder.write("train-labels-idx1-ubyte", idx(0x08, {kSamples}, labels));
  const OpenOptions plain;
  return open_dataset(path, plain);
}

LoaderOptions training(int threads) {
  LoaderOptions options;
  options.batch = 10;
  options.seed = 5;
  options.threads = threads;
  options.transform.augmentation = {.crop_padding = 2, .flip = true};
  options.transform.normalization = normalization_preset("mnist");
  return options;
}

struct Copy {
  std::vector<float> samples;
  std::vector<int32_t> labels;
  std::vector<int64_t> indices;
  bool operator==(const Copy&) const = default;
};

Copy copy_of(const Batch& batch) {
  const auto s = batch.fields[0].data.as<float>();
  const auto l = batch.fields[1].data.as<int32_t>();
  return {{s.begin(), s.end()}, {l.begin(), l.end()}, batch.indices};
}

std::vector<Copy> batches_of(Loader& loader, int64_t epoch, int64_t first) {
  std::vector<Copy> all;
  loader.start(epoch, first);
  Batch batch;
  while (loader.next(batch)) {
    EXPECT_EQ(batch.epoch, epoch);
    EXPECT_EQ(batch.number, first + static_cast<int64_t>(all.size()));
    all.push_back(copy_of(batch));
  }
  return all;
}

TEST(Loader, RoundsSamplesToTheStorageType) {
  const TemporaryFolder folder;
  const auto set = pictures(folder);
  LoaderOptions options = training(2);
  options.training = false;  // with a last batch that is not full
  Loader wide(set, options);
  for (const DType storage : {DType::kF16, DType::kBf16}) {
    options.storage = storage;
    Loader narrow(set, options);
    wide.start(0);
    narrow.start(0);
    Batch a;
    Batch b;
    int batches = 0;
    for (; wide.next(a); ++batches) {
      ASSERT_TRUE(narrow.next(b));
      ASSERT_EQ(b.fields[0].data.dtype(), storage);
      ASSERT_EQ(a.fields[0].data.shape(), b.fields[0].data.shape());
      const Tensor expected = converted(a.fields[0].data, storage);
      EXPECT_EQ(std::memcmp(b.fields[0].data.data(), expected.data(), static_cast<size_t>(expected.bytes())),
                0);
      EXPECT_NE(b.fields[0].data.as<uint16_t>()[0], 0);
    }
    EXPECT_EQ(batches, 11);
  }
}

// 40 random pictures as CIFAR has them: 3 x 32 x 32.
std::shared_ptr<const Dataset> colours(const TemporaryFolder& folder) {
  std::string bytes;
  for (int i = 0; i < 40; ++i) bytes += static_cast<char>(i % 10) + noise(3072, static_cast<unsigned>(i));
  return open_dataset(folder.write("data_batch_1.bin", bytes), {});
}

TEST(Loader, GivesSamplesChannelsLast) {
  const TemporaryFolder folder;
  const auto set = colours(folder);
  LoaderOptions options = training(2);
  options.transform.normalization = normalization_preset("cifar10");
  for (const bool trains : {true, false})
    for (const DType storage : {DType::kF32, DType::kF16, DType::kBf16}) {
      options.training = trains;
      options.storage = storage;
      options.batch = 12;
      options.channels_last = false;
      Loader first(set, options);
      options.channels_last = true;
      Loader last(set, options);
      first.start(0);
      last.start(0);
      Batch a;
      Batch b;
      int64_t batches = 0;
      for (; first.next(a); ++batches) {
        ASSERT_TRUE(last.next(b));
        const std::vector<int64_t> axes{0, 2, 3, 1};
        EXPECT_TRUE(a.fields[0].axes.empty());
        EXPECT_EQ(b.fields[0].axes, axes);
        EXPECT_TRUE(b.fields[1].axes.empty());
        const Tensor expected = transposed(a.fields[0].data, axes);
        const Tensor& given = b.fields[0].data;
        ASSERT_EQ(given.shape(), (Shape{12, 32, 32, 3}));
        ASSERT_EQ(given.dtype(), storage);
        EXPECT_EQ(std::memcmp(given.data(), expected.data(), static_cast<size_t>(expected.bytes())), 0);
        EXPECT_EQ(a.indices, b.indices);
      }
      EXPECT_EQ(batches, trains ? 3 : 4);  // the last one of an evaluation has rows that are 0
    }
}

TEST(Loader, KeepsTheOrderOfSamplesThatCannotBeChannelsLast) {
  const TemporaryFolder folder;
  OpenOptions flat;
  flat.sample_shape = {30};
  std::string labels(kSamples, '\1');
  const std::string path =
      folder.write("train-images-idx3-ubyte", idx(0x08, {kSamples, 6, 5}, noise(kSamples * 30, 1)));
  folder.write("train-labels-idx1-ubyte", idx(0x08, {kSamples}, labels));
  const std::shared_ptr<const Dataset> set = open_dataset(path, flat);
  LoaderOptions options = training(1);
  const std::vector<Copy> plain = [&] {
    Loader loader(set, options);
    return batches_of(loader, 0, 0);
  }();
  options.channels_last = true;
  Loader loader(set, options);
  EXPECT_EQ(batches_of(loader, 0, 0), plain);
}

TEST(Loader, GivesTheSameBatchesOnAnyNumberOfThreads) {
  const TemporaryFolder folder;
  const auto set = pictures(folder);
  Loader one(set, training(1));
  const std::vector<Copy> expected = batches_of(one, 3, 0);
  ASSERT_EQ(expected.size(), 10U);
  for (const int threads : {2, 4}) {
    LoaderOptions options = training(threads);
    options.ahead = threads;
    Loader many(set, options);
    EXPECT_EQ(batches_of(many, 3, 0), expected) << threads;
  }
}

TEST(Loader, StartsInTheMiddleOfAnEpochWithTheSameBatches) {
  const TemporaryFolder folder;
  Loader loader(pictures(folder), training(2));
  const std::vector<Copy> expected = batches_of(loader, 1, 0);
  for (const int64_t first : {1, 7, 9, 10}) {
    Batch batch;
    loader.start(0, 2);
    ASSERT_TRUE(loader.next(batch));
    const std::vector<Copy> rest = batches_of(loader, 1, first);
    EXPECT_EQ(rest, std::vector<Copy>(expected.begin() + first, expected.end()));
  }
}

TEST(Loader, TrainingShufflesDifferentlyInEachEpochAndSeed) {
  const std::vector<int64_t> a = shuffled(1000, 1, 0);
  const std::vector<int64_t> b = shuffled(1000, 1, 1);
  const std::vector<int64_t> c = shuffled(1000, 2, 0);
  EXPECT_EQ(shuffled(1000, 1, 0), a);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  for (std::vector<int64_t> order : {a, b, c}) {
    std::sort(order.begin(), order.end());
    std::vector<int64_t> all(1000);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
  // A shuffle leaves about one element in its place.
  int64_t fixed = 0;
  for (int64_t i = 0; i < 1000; ++i) fixed += a[static_cast<size_t>(i)] == i ? 1 : 0;
  EXPECT_LT(fixed, 8);
}

TEST(Loader, TrainingLeavesOutTheIncompleteBatch) {
  const TemporaryFolder folder;
  Loader loader(pictures(folder), training(2));
  EXPECT_EQ(loader.batches(), 10);
  std::set<int64_t> seen;
  for (const Copy& batch : batches_of(loader, 0, 0)) seen.insert(batch.indices.begin(), batch.indices.end());
  EXPECT_EQ(seen.size(), 100U);
}

TEST(Loader, EvaluationKeepsOrderAndTheIncompleteBatch) {
  const TemporaryFolder folder;
  const auto set = pictures(folder);
  LoaderOptions options = training(2);
  options.training = false;
  Loader loader(set, options);
  EXPECT_EQ(loader.batches(), 11);
  loader.start(0);
  Batch batch;
  int64_t next = 0;
  Sample sample;
  while (loader.next(batch)) {
    EXPECT_EQ(batch.fields[0].data.shape(), (Shape{10, 1, 6, 5}));
    EXPECT_EQ(batch.count, std::min<int64_t>(10, kSamples - next));
    for (int64_t row = 0; row < batch.count; ++row, ++next) {
      EXPECT_EQ(batch.indices[static_cast<size_t>(row)], next);
      EXPECT_EQ(batch.fields[1].data.as<int32_t>()[static_cast<size_t>(row)], next % 7);
      set->read(next, sample);
      for (int64_t p = 0; p < 30; ++p)
        EXPECT_EQ(batch.fields[0].data.as<float>()[static_cast<size_t>(row * 30 + p)],
                  (static_cast<float>(sample.pixels.data[p]) / 255.0F - 0.1307F) / 0.3081F);
    }
    for (int64_t row = batch.count; row < 10; ++row) {
      EXPECT_EQ(batch.fields[1].data.as<int32_t>()[static_cast<size_t>(row)], -1);
      for (int64_t p = 0; p < 30; ++p)
        EXPECT_EQ(batch.fields[0].data.as<float>()[static_cast<size_t>(row * 30 + p)], 0.0F);
    }
  }
  EXPECT_EQ(next, kSamples);
  EXPECT_FALSE(loader.next(batch));
}

// A set whose sample 57 is broken.
class Broken final : public Dataset {
 public:
  Broken() {
    info_.shape = {1};
    info_.labels = LabelKind::kClass;
    info_.classes = 2;
  }
  int64_t size() const override { return 100; }
  std::string name(int64_t index) const override { return std::to_string(index); }
  void read(int64_t index, Sample& sample) const override {
    if (index == 57 || index == 58) throw input_error("sample {} is broken", index);
    sample.values = {static_cast<float>(index)};
    sample.label = 1;
  }
};

TEST(Loader, GivesAnErrorWhenItsBatchIsDueAndGoesOnAfterAStart) {
  for (const int threads : {1, 2, 4}) {
    LoaderOptions options;
    options.batch = 10;
    options.training = false;
    options.threads = threads;
    Loader loader(std::make_shared<Broken>(), options);
    for (int round = 0; round < 3; ++round) {
      loader.start(0);
      Batch batch;
      for (int i = 0; i < 5; ++i) ASSERT_TRUE(loader.next(batch));
      EXPECT_EQ(message_of([&] { loader.next(batch); }), "sample 57 is broken");
      loader.start(0, 6);
      ASSERT_TRUE(loader.next(batch));
      EXPECT_EQ(batch.fields[0].data.as<float>()[0], 60.0F);
    }
  }
}

TEST(Loader, EndsWhileThreadsAreAtWork) {
  const TemporaryFolder folder;
  const auto set = pictures(folder);
  for (int i = 0; i < 50; ++i) {
    Loader loader(set, training(4));
    loader.start(i);
    Batch batch;
    if (i % 2 == 0) loader.next(batch);
  }
}

TEST(Loader, RefusesABatchLargerThanTheSet) {
  const TemporaryFolder folder;
  LoaderOptions options = training(1);
  options.batch = 104;
  EXPECT_NE(message_of([&] { Loader loader(pictures(folder), options); }).find("fewer than a batch"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::data
