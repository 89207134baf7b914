#include "train/loss_scale.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace halftone::train {
namespace {

TEST(LossScale, Fp16StartsAt1024AndHalvesOnANonFiniteStep) {
  LossScale scale = LossScale::automatic(DType::kF16);
  EXPECT_EQ(scale.scale(), 1024);
  EXPECT_EQ(scale.update(false), StepVerdict::kSkip);
  EXPECT_EQ(scale.scale(), 512);
  EXPECT_EQ(scale.update(true), StepVerdict::kApply);
  EXPECT_EQ(scale.scale(), 512);
  EXPECT_EQ(scale.state().skipped_steps, 1);
}

TEST(LossScale, DoublesAfter2000GoodStepsInARow) {
  LossScale scale = LossScale::automatic(DType::kF16);
  for (int i = 0; i < 1999; ++i) scale.update(true);
  EXPECT_EQ(scale.scale(), 1024);
  scale.update(false);
  for (int i = 0; i < 1999; ++i) scale.update(true);
  EXPECT_EQ(scale.scale(), 512) << "the row was interrupted";
  scale.update(true);
  EXPECT_EQ(scale.scale(), 1024);
}

TEST(LossScale, StaysWithinItsBounds) {
  LossScale scale = LossScale::automatic(DType::kF16);
  for (int i = 0; i < 2000 * 20; ++i) ASSERT_EQ(scale.update(true), StepVerdict::kApply);
  EXPECT_EQ(scale.scale(), 16777216);
  for (int i = 0; i < 24; ++i) ASSERT_EQ(scale.update(false), StepVerdict::kSkip);
  EXPECT_EQ(scale.scale(), 1);
}

TEST(LossScale, StopsWhenItCannotBeLoweredAnyFurther) {
  LossScale scale = LossScale::automatic(DType::kF16);
  for (int i = 0; i < 10; ++i) ASSERT_EQ(scale.update(false), StepVerdict::kSkip);
  ASSERT_EQ(scale.scale(), 1);
  for (int64_t i = 1; i < kMaxHopelessSteps; ++i) ASSERT_EQ(scale.update(false), StepVerdict::kSkip) << i;
  EXPECT_EQ(scale.update(true), StepVerdict::kApply);
  for (int64_t i = 1; i < kMaxHopelessSteps; ++i)
    ASSERT_EQ(scale.update(false), StepVerdict::kSkip) << "a good step starts the count anew";
  EXPECT_EQ(scale.update(false), StepVerdict::kStop);
  EXPECT_EQ(scale.scale(), 1);
}

TEST(LossScale, WiderRangesNeedNone) {
  for (const DType type : {DType::kBf16, DType::kF32}) {
    LossScale scale = LossScale::automatic(type);
    for (int i = 0; i < 5000; ++i) scale.update(true);
    EXPECT_EQ(scale.scale(), 1);
    EXPECT_FALSE(scale.is_automatic());
  }
}

TEST(LossScale, FixedNeverMovesAndStops) {
  LossScale scale = LossScale::fixed(4096);
  for (int i = 0; i < 5000; ++i) scale.update(true);
  for (int64_t i = 1; i < kMaxHopelessSteps; ++i) EXPECT_EQ(scale.update(false), StepVerdict::kSkip);
  EXPECT_EQ(scale.update(false), StepVerdict::kStop);
  EXPECT_EQ(scale.scale(), 4096);
  EXPECT_EQ(scale.state().skipped_steps, kMaxHopelessSteps);
}

TEST(LossScale, OnlyPowersOfTwoWithinTheBounds) {
  for (const double bad : {0.0, -1.0, 0.5, 3.0, 1000.0, 33554432.0, 1e300})
    EXPECT_THROW(LossScale::fixed(bad), Error) << bad;
  EXPECT_EQ(LossScale::fixed(16777216).scale(), 16777216);
  EXPECT_EQ(LossScale::parse("1024", DType::kF32).scale(), 1024);
  EXPECT_TRUE(LossScale::parse("auto", DType::kF16).is_automatic());
  for (const char* bad : {"", "automatic", "1024x", "nan", "inf", "1000"})
    EXPECT_THROW(LossScale::parse(bad, DType::kF16), Error) << bad;
}

TEST(LossScale, AResumedOneGoesOnAsTheFirst) {
  LossScale first = LossScale::automatic(DType::kF16);
  for (int i = 0; i < 3000; ++i) first.update(i % 777 != 0);
  LossScale second = LossScale::automatic(DType::kF16);
  second.restore(loss_scale_from_json(to_json(first.state())));
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(first.update(i % 999 != 0), second.update(i % 999 != 0));
    ASSERT_EQ(first.state(), second.state());
  }
}

TEST(LossScale, DamagedOrForeignStateIsRefused) {
  EXPECT_THROW(loss_scale_from_json("[]"), Error);
  EXPECT_THROW(loss_scale_from_json("{\"scale\":1"), Error);
  EXPECT_THROW(LossScale::automatic(DType::kF16).restore({.scale = 3}), Error);
  EXPECT_THROW(LossScale::automatic(DType::kF16).restore({.scale = 4, .good_steps = -1}), Error);
  EXPECT_THROW(LossScale::fixed(8).restore({.scale = 4}), Error);
}

}  // namespace
}  // namespace halftone::train
