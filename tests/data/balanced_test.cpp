// Epochs that draw all classes alike.
#include <gtest/gtest.h>

#include <map>

#include "data/files.h"
#include "data/loader.h"

namespace halftone::data {
namespace {

std::shared_ptr<const Dataset> skewed(const TemporaryFolder& folder) {
  std::vector<int32_t> labels(600, 0);
  for (size_t i = 0; i < 30; ++i) labels[i * 20] = 2;  // class 1 has no samples
  std::vector<float> x(600);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  const std::string path = folder.write("a.npz", zip({{"x.npy", npy("<f4", "(600, 1)", bytes_of(x))},
                                                      {"y.npy", npy("<i4", "(600,)", bytes_of(labels))}},
                                                     false));
  const OpenOptions options;
  return open_dataset(path, options);
}

std::vector<int32_t> labels_of(Loader& loader, int64_t epoch, int64_t first = 0) {
  std::vector<int32_t> labels;
  loader.start(epoch, first);
  for (Batch batch; loader.next(batch);) {
    const auto of_batch = batch.field("label").as<int32_t>();
    labels.insert(labels.end(), of_batch.begin(), of_batch.begin() + batch.count);
  }
  return labels;
}

TEST(Balanced, EpochsHaveAllClassesAlikeAndDependOnSeedAndEpochAlone) {
  const TemporaryFolder folder;
  const auto set = skewed(folder);
  LoaderOptions options;
  options.batch = 30;
  options.balanced = true;
  options.seed = 5;
  Loader loader(set, options);
  const std::vector<int32_t> first = labels_of(loader, 0);
  ASSERT_EQ(first.size(), 600U);
  const auto rare = std::count(first.begin(), first.end(), 2);
  // 300 expected, deviation sqrt(600 / 4) = 12: five of them.
  EXPECT_GT(rare, 240);
  EXPECT_LT(rare, 360);
  EXPECT_EQ(std::count(first.begin(), first.end(), 1), 0);
  EXPECT_NE(labels_of(loader, 1), first);
  options.threads = 3;
  Loader again(set, options);
  EXPECT_EQ(labels_of(again, 0), first);
  const std::vector<int32_t> later = labels_of(again, 0, 7);
  EXPECT_TRUE(std::equal(later.begin(), later.end(), first.begin() + 7 * 30, first.end()));
  options.seed = 6;
  Loader other(set, options);
  EXPECT_NE(labels_of(other, 0), first);
  options.training = false;
  Loader evaluation(set, options);
  const std::vector<int32_t> all = labels_of(evaluation, 0);
  EXPECT_EQ(std::count(all.begin(), all.end(), 2), 30) << "an evaluation has each sample once";
}

}  // namespace
}  // namespace halftone::data
