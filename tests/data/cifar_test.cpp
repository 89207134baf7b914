#include "data/cifar.h"

#include <gtest/gtest.h>

#include "data/files.h"

namespace halftone::data {
namespace {

constexpr int64_t kPixels = 3072;

std::string record(const std::string& labels, uint64_t seed) {
  return labels + noise(kPixels, seed);
}

TEST(Cifar, ReadsBatchesInOrderAndSplits) {
  const TemporaryFolder folder;
  folder.write("data_batch_2.bin", record("\2", 2));
  folder.write("data_batch_1.bin", record(std::string(1, '\0'), 0) + record("\1", 1));
  folder.write("test_batch.bin", record("\x9", 9));
  folder.write("batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
  const auto set = open_dataset(folder.path(), {});
  ASSERT_EQ(set->size(), 3);
  EXPECT_EQ(set->info().kind, "CIFAR-10");
  EXPECT_EQ(set->info().classes, 10);
  ASSERT_EQ(set->info().class_names.size(), 10U);
  EXPECT_EQ(set->info().class_names[9], "j");
  Sample sample;
  for (int64_t i = 0; i < 3; ++i) {
    set->read(i, sample);
    EXPECT_EQ(sample.label, i);
    const std::string pixels = noise(kPixels, static_cast<uint64_t>(i));
    const Sample::Pixels& p = sample.pixels;
    EXPECT_EQ(p.data[2 * p.channel_stride + 30 * p.row_stride + 7 * p.column_stride],
              static_cast<uint8_t>(pixels[2 * 1024 + 30 * 32 + 7]));
  }
  EXPECT_EQ(open_dataset(folder.path() + "[test]", {})->size(), 1);
  EXPECT_EQ(open_dataset(folder.path() + "/data_batch_1.bin", {})->size(), 2);
}

TEST(Cifar, ReadsCifar100WithFineOrCoarseLabels) {
  const TemporaryFolder folder;
  folder.write("train.bin", record("\x13\x63", 1));
  folder.write("test.bin", record("\x01\x02", 1));
  Sample sample;
  const auto fine = open_dataset(folder.path(), {});
  EXPECT_EQ(fine->info().classes, 100);
  fine->read(0, sample);
  EXPECT_EQ(sample.label, 99);
  OpenOptions options;
  options.y_key = "coarse";
  const auto coarse = open_dataset(folder.path(), options);
  EXPECT_EQ(coarse->info().classes, 20);
  coarse->read(0, sample);
  EXPECT_EQ(sample.label, 19);
}

TEST(Cifar, NamesWhatIsBroken) {
  const TemporaryFolder folder;
  const auto refusal = [&](const OpenOptions& options) {
    return message_of([&] { open_dataset(folder.path(), options); });
  };
  folder.write("data_batch_1.bin", record("\1", 1).substr(1));
  EXPECT_NE(refusal({}).find("data_batch_1.bin: its 3072 bytes are no whole number"), std::string::npos);
  folder.write("data_batch_1.bin", record("\1", 1) + record("\xA", 1));
  EXPECT_NE(refusal({}).find("data_batch_1.bin, record 1: the label 10 is out of range"), std::string::npos);
  OpenOptions options;
  options.skip_bad = true;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->size(), 1);
  EXPECT_EQ(set->info().skipped, 1);
  options.classes = 5;
  EXPECT_NE(refusal(options).find("there are 10 classes, but the network has 5"), std::string::npos);
  folder.write("data_batch_2.bin", record("\1\1", 1));
  EXPECT_NE(refusal({}).find("data_batch_2.bin: it is CIFAR-100, unlike"), std::string::npos);
}

}  // namespace
}  // namespace halftone::data
