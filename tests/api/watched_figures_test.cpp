// --watch with several figures, and the parts of --batch auto.
#include <gtest/gtest.h>

#include "api/batches.h"
#include "api/watch.h"
#include "base/error.h"

namespace halftone::api {
namespace {

TEST(Watch, TakesSeveralFiguresOfWhichTheFirstCounts) {
  const std::vector<train::Watch> one = parse_watch("loss");
  ASSERT_EQ(one.size(), 1U);
  EXPECT_FALSE(one[0].larger_is_better());
  const std::vector<train::Watch> three = parse_watch("f1,loss,accuracy");
  ASSERT_EQ(three.size(), 3U);
  EXPECT_EQ(name_of(three[0]), "macro-f1");
  EXPECT_TRUE(three[0].larger_is_better());
  EXPECT_EQ(name_of(three[1]), "loss");
  EXPECT_EQ(name_of(three[2]), "accuracy");
  EXPECT_TRUE(three[2].larger_is_better());
  EXPECT_FALSE(parse_watch("rmse")[0].larger_is_better());
}

TEST(Watch, RefusesOthers) {
  for (const char* text : {"", "loss,", ",loss", "loss, accuracy", "loss,loss", "f1,macro-f1", "f2"})
    EXPECT_THROW(parse_watch(text), Error) << text;
}

TEST(Batches, AnEffectiveBatchBecomesAccumulation) {
  TrainOptions o;
  o.network.batch = 32;
  o.effective_batch = 96;
  const Log silent = [](const std::string&) {};
  decide_batches(o, silent);
  EXPECT_EQ(o.accumulate, 3);
  EXPECT_EQ(o.effective_batch, 0);
  o.effective_batch = 64;
  EXPECT_THROW(decide_batches(o, silent), Error);  // and --accumulate 3
  o.accumulate = 1;
  o.effective_batch = 40;
  EXPECT_THROW(decide_batches(o, silent), Error);
}

TEST(Batches, AreThoseThatDealAStepWithoutARest) {
  EXPECT_EQ(batches_of(128), (std::vector<int64_t>{128, 64, 32, 16, 8, 4, 2, 1}));
  EXPECT_EQ(batches_of(96), (std::vector<int64_t>{96, 48, 32, 24, 16, 8, 4, 2, 1}));
  EXPECT_EQ(batches_of(47), (std::vector<int64_t>{47, 1}));
  EXPECT_EQ(batches_of(1), (std::vector<int64_t>{1}));
}

}  // namespace
}  // namespace halftone::api
