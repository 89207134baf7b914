// The share of a set that is held out, by class and without a seed.
#include "data/share.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "data/files.h"
#include "data/spec.h"

namespace halftone::data {
namespace {

// Labels of `samples` samples of one number each, as .npz.
std::string set_of(const TemporaryFolder& folder, const std::vector<int32_t>& labels,
                   const std::string& name) {
  const auto n = std::to_string(labels.size());
  std::string elements;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto x = static_cast<float>(i);
    elements.append(reinterpret_cast<const char*>(&x), sizeof(x));
  }
  return folder.write(name, zip({{"x.npy", npy("<f4", "(" + n + ", 1)", elements)},
                                 {"y.npy", npy("<i4", "(" + n + ",)", bytes_of(labels))}},
                                false));
}

std::vector<int32_t> labels_of(const Dataset& set) {
  std::vector<int32_t> labels;
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    set.read(i, sample);
    labels.push_back(sample.label);
  }
  return labels;
}

std::set<float> values_of(const Dataset& set) {
  std::set<float> values;
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    set.read(i, sample);
    values.insert(sample.values.at(0));
  }
  return values;
}

TEST(Share, HoldsOutTheSamePartOfEachClassWhateverTheOrder) {
  const TemporaryFolder folder;
  // 100 of class 0 first, then 31 of class 1, then ones of class 2 and 0 in turn.
  std::vector<int32_t> labels(100, 0);
  labels.insert(labels.end(), 31, 1);
  for (int i = 0; i < 40; ++i) labels.push_back(i % 2 == 0 ? 2 : 0);
  const std::string path = set_of(folder, labels, "a.npz");
  const auto held = open_dataset(path + "[val=10%]", {});
  const auto rest = open_dataset(path + "[train=10%]", {});
  std::map<int32_t, int64_t> counts;
  for (const int32_t label : labels_of(*held)) ++counts[label];
  // Rounded: 12 of 120, 3 of 31, 2 of 20.
  EXPECT_EQ(counts, (std::map<int32_t, int64_t>{{0, 12}, {1, 3}, {2, 2}}));
  const std::set<float> a = values_of(*held);
  std::set<float> all = values_of(*rest);
  for (const float x : a) EXPECT_TRUE(all.insert(x).second) << "sample " << x << " is in both";
  EXPECT_EQ(all.size(), labels.size());
  EXPECT_EQ(held->info().source, path + "[val=10%]");
}

TEST(Share, IsSpreadOverTheSet) {
  const TemporaryFolder folder;
  const auto held = open_dataset(set_of(folder, std::vector<int32_t>(1000, 0), "a.npz") + "[val=25%]", {});
  ASSERT_EQ(held->size(), 250);
  float before = -4;
  for (const float x : values_of(*held)) {
    EXPECT_EQ(x - before, before < 0 ? x - before : 4) << x;
    before = x;
  }
}

TEST(Share, RefusesWhatMakesNoSense) {
  for (const char* text : {"a[val=0%]", "a[val=100%]", "a[val=x%]", "a[test=10%]", "a[val=10%][:5]",
                           "a[:5][val=10%]", "a[val=10%][train=10%]", "a[val=10%][train]"})
    EXPECT_THROW(parse_spec(text), Error) << text;
  EXPECT_EQ(parse_spec("a[train][val=12.5%]").share->hundredths, 1250);
  EXPECT_EQ(parse_spec("a[train][val=12.5%]").split, "train");
  EXPECT_FALSE(parse_spec("a[train=10%]").share->held_out);
  const TemporaryFolder folder;
  const std::string few = set_of(folder, {0, 1, 2, 3}, "few.npz");
  EXPECT_NE(message_of([&] { open_dataset(few + "[val=10%]", {}); }).find("are none"), std::string::npos);
  EXPECT_NE(message_of([&] { open_dataset(few + "[val=60%]", {}); }).find("leave none"), std::string::npos);
}

}  // namespace
}  // namespace halftone::data
