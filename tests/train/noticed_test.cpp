#include "train/noticed.h"

#include <gtest/gtest.h>

#include <vector>

namespace halftone::train {
namespace {

const exec::NonFinite kSomewhere{"fc1", "MatMul", "h", 3, ir::ValueKind::kActivation};

TEST(NoticedInfinities, AreCheckedLessAndLessOftenWhileTheyDoNoHarmAndReportedOnce) {
  std::vector<uint64_t> checked;
  std::vector<std::string> warnings;
  NoticedInfinities n(
      [&](const data::Batch&, uint64_t step) {
        checked.push_back(step);
        return PrecisionCheck();
      },
      [&](const std::string& text) { warnings.push_back(text); });
  for (int64_t step = 0; step < 300; ++step)
    EXPECT_FALSE(
        n.consider(kSomewhere, {}, static_cast<uint64_t>(step), step, "step " + std::to_string(step)));
  EXPECT_EQ(checked, (std::vector<uint64_t>{0, 2, 5, 10, 19, 36, 69, 134, 199, 264}));
  EXPECT_EQ(warnings,
            (std::vector<std::string>{
                "warning: step 0: there is an infinity or a NaN in tensor h of node fc1 (MatMul)"}));
  EXPECT_FALSE(n.checks(300));
  EXPECT_FALSE(n.consider(kSomewhere, {}, 300, 300, "step 300", /*must_decide=*/true));
  EXPECT_EQ(checked.back(), 300U);
}

TEST(NoticedInfinities, WhatDoesNotFitIsReturned) {
  NoticedInfinities n(
      [&](const data::Batch&, uint64_t) {
        PrecisionCheck c;
        c.fits = false;
        c.finding = "the tensor h overflows";
        return c;
      },
      [](const std::string& text) { FAIL() << text; });
  EXPECT_EQ(n.consider(kSomewhere, {}, 7, 7, "step 8"), "the tensor h overflows");
}

TEST(NoticedInfinities, WithoutACheckThereIsAWarningThatSaysSo) {
  std::string warning;
  NoticedInfinities n({}, [&](const std::string& text) { warning = text; });
  EXPECT_FALSE(n.consider(kSomewhere, {}, 0, 0, "samples 0 to 31"));
  EXPECT_NE(warning.find("samples 0 to 31: "), std::string::npos) << warning;
  EXPECT_NE(warning.find("is not checked"), std::string::npos) << warning;
}

}  // namespace
}  // namespace halftone::train
