#include "base/patterns.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace halftone {
namespace {

TEST(Patterns, StarsAndQuestionMarks) {
  EXPECT_TRUE(matches("layer1.0.weight", "layer1*"));
  EXPECT_TRUE(matches("a/b", "*b"));
  EXPECT_TRUE(matches("w1", "w?"));
  EXPECT_FALSE(matches("w12", "w?"));
  EXPECT_FALSE(matches("layer10", "layer1"));
  EXPECT_TRUE(matches("w[0]", "w[0]"));
}

TEST(Patterns, ThePatternWithMoreLettersCounts) {
  const TrainFreeze choice{{"head*", "*.bias"}, {"*", "head.frozen*"}};
  EXPECT_EQ(choice.of({"stem.weight"}), Choice::kFreeze);
  EXPECT_EQ(choice.of({"stem.bias"}), Choice::kTrain);
  EXPECT_EQ(choice.of({"head.weight"}), Choice::kTrain);
  EXPECT_EQ(choice.of({"head.frozen.bias"}), Choice::kFreeze);
  EXPECT_EQ(TrainFreeze{}.of({"head.weight"}), Choice::kNone);
  EXPECT_EQ(choice.of({"a", "stem.bias"}), Choice::kTrain) << "one of several names";
  EXPECT_THROW((TrainFreeze{{"a*"}, {"*a"}}.of({"aa"})), Error);
}

}  // namespace
}  // namespace halftone
