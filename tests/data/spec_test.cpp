#include "data/spec.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace halftone::data {
namespace {

TEST(Spec, TakesSplitAndRangeApart) {
  const Spec spec = parse_spec("some/path[t10k][10:50%]");
  EXPECT_EQ(spec.path, "some/path");
  EXPECT_EQ(spec.split, "test");
  ASSERT_TRUE(spec.range && spec.range->begin && spec.range->end);
  EXPECT_EQ(spec.range->begin->value, 10);
  EXPECT_FALSE(spec.range->begin->percent);
  EXPECT_EQ(spec.range->end->value, 5000);
  EXPECT_TRUE(spec.range->end->percent);
}

TEST(Spec, WithoutBracketsIsThePath) {
  const Spec spec = parse_spec("a/b");
  EXPECT_EQ(spec.path, "a/b");
  EXPECT_TRUE(spec.split.empty());
  EXPECT_FALSE(spec.range);
}

TEST(Spec, RefusesWhatMakesNoSense) {
  for (const char* text : {"a[x%:]", "a[:101%]", "a[1:2][3:4]", "a[:1][train]", "a[]", "a[train][test]",
                           "[train]", "a[1:2:3]", ""})
    EXPECT_THROW(parse_spec(text), Error) << text;
}

TEST(Range, HalvesAreDisjointAndComplete) {
  for (const int64_t size : {2, 3, 7, 60000}) {
    const auto first = resolve_range(*parse_spec("a[:50%]").range, size, "a");
    const auto second = resolve_range(*parse_spec("a[50%:]").range, size, "a");
    EXPECT_EQ(first.first, 0);
    EXPECT_EQ(first.second, size / 2);
    EXPECT_EQ(second.first, first.second);
    EXPECT_EQ(second.second, size);
  }
}

TEST(Range, CountsFromTheEnd) {
  EXPECT_EQ(resolve_range(*parse_spec("a[-10:]").range, 100, "a"), (std::pair<int64_t, int64_t>{90, 100}));
  EXPECT_EQ(resolve_range(*parse_spec("a[12.5%:-1]").range, 100, "a"), (std::pair<int64_t, int64_t>{12, 99}));
}

TEST(Range, RefusesEmptyAndOutside) {
  for (const char* text : {"a[5:5]", "a[6:5]", "a[0:11]", "a[-11:]", "a[100%:]"})
    EXPECT_THROW(resolve_range(*parse_spec(text).range, 10, "a"), Error) << text;
}

TEST(Split, TakesTheFirstPreferredThatIsThere) {
  const Spec none = parse_spec("a");
  EXPECT_EQ(choose_split(none, {"val", "test"}, {"train", "test"}), "test");
  EXPECT_THROW(choose_split(none, {"val"}, {"train", "test"}), Error);
  EXPECT_EQ(choose_split(parse_spec("a[train]"), {"test"}, {"train", "test"}), "train");
  EXPECT_THROW(choose_split(parse_spec("a[val]"), {"test"}, {"train", "test"}), Error);
}

}  // namespace
}  // namespace halftone::data
