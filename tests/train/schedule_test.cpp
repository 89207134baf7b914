#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"

namespace halftone::train {
namespace {

constexpr double kBase = 0.1;

std::vector<double> rates(const std::string& text, int64_t steps, int64_t warmup = 0,
                          int64_t steps_per_epoch = 1) {
  const Schedule schedule = parse_schedule(text);
  std::vector<double> out;
  for (int64_t step = 0; step < steps; ++step)
    out.push_back(learning_rate(
        schedule, kBase,
        {.good_step = step, .total_steps = steps, .steps_per_epoch = steps_per_epoch, .warmup_steps = warmup},
        start_plateau(kBase)));
  return out;
}

// PyTorch chains its updates (each rate from the one before), so its numbers carry one rounding per step;
// ours are closed forms.
void expect_close(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i],
                2 * static_cast<double>(i + 1) * std::numeric_limits<double>::epsilon() * 0.4)
        << "step " << i;
}

std::string error_of(const std::string& text) {
  try {
    parse_schedule(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "no error";
}

// The expected numbers are PyTorch's (2.15.0), printed by tests/fixtures/make_schedules.py.
TEST(Schedule, StepIsPyTorchsStepLR) {
  const std::vector<double> expected{0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125};
  expect_close(rates("step:steps=3,gamma=0.5", 10), expected);
  expect_close(rates("step:size=3,gamma=0.5", 10), expected);
}

TEST(Schedule, StepSizeCountsEpochs) {
  expect_close(rates("step:size=2,gamma=0.5", 10, 0, 2),
               {0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025});
}

TEST(Schedule, CosineIsPyTorchsCosineAnnealingLR) {
  expect_close(rates("cosine:min=0.001", 8),
               {0.1, 0.0962320368593087, 0.0855017856687341, 0.06944282990207196, 0.0505, 0.03155717009792806,
                0.0154982143312659, 0.004767963140691306});
}

TEST(Schedule, CosineIsAsExactAsTheLibrarys) {
  const std::vector<double> got = rates("cosine", 1000);
  for (size_t t = 0; t < got.size(); ++t)
    EXPECT_NEAR(got[t], kBase * (1 + std::cos(M_PI * static_cast<double>(t) / 1000)) / 2, 1e-16) << t;
}

TEST(Schedule, LinearIsPyTorchsLinearLR) {
  expect_close(rates("linear:end=0.02", 8), {0.1, 0.09000000000000001, 0.08, 0.07, 0.060000000000000005, 0.05,
                                             0.04000000000000001, 0.030000000000000006});
}

TEST(Schedule, WarmUpIsPyTorchsSequentialLR) {
  expect_close(rates("cosine", 11, 3),
               {0.025, 0.05, 0.07500000000000001, 0.1, 0.09619397662556434, 0.08535533905932738,
                0.0691341716182545, 0.05, 0.030865828381745515, 0.014644660940672627, 0.0038060233744356634});
}

TEST(Schedule, EveryKindWarmsUpToItsFirstRate) {
  for (const std::string text :
       {"constant", "step:size=1", "cosine", "linear", "onecycle:max=0.4", "plateau"}) {
    const std::vector<double> warm = rates(text, 44, 4);
    const std::vector<double> plain = rates(text, 40);
    for (size_t i = 0; i < 4; ++i)
      EXPECT_DOUBLE_EQ(warm[i], plain[0] * static_cast<double>(i + 1) / 5) << text;
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(warm[i + 4], plain[i]) << text;
  }
}

TEST(Schedule, OneCycleIsPyTorchsOneCycleLR) {
  expect_close(rates("onecycle:max=0.4", 10),
               {0.016000000000000014, 0.20800000000000002, 0.4, 0.38019385280538953, 0.3246982615799052,
                0.24450480877451572, 0.1554967912254843, 0.0753033384200948, 0.019807747194610516, 1.6e-06});
  expect_close(
      rates("onecycle:max=0.4,start=0.25,div=10,final_div=100,anneal=linear", 12),
      {0.04, 0.22000000000000003, 0.4, 0.3556, 0.31120000000000003, 0.26680000000000004, 0.22240000000000001,
       0.17800000000000002, 0.13360000000000005, 0.0892, 0.044800000000000006, 0.00040000000000001146});
  expect_close(rates("onecycle:max=0.4,phases=3", 20), {0.016000000000000014,
                                                        0.05266873708001013,
                                                        0.1486687370800101,
                                                        0.2673312629199899,
                                                        0.3633312629199899,
                                                        0.4,
                                                        0.3633312629199899,
                                                        0.26733126291998993,
                                                        0.1486687370800101,
                                                        0.05266873708001011,
                                                        0.016,
                                                        0.015517589212190637,
                                                        0.014128542709397326,
                                                        0.0120004,
                                                        0.009389846502793309,
                                                        0.006611753497206691,
                                                        0.004001200000000002,
                                                        0.001873057290602672,
                                                        0.0004840107878093622,
                                                        1.6e-06});
}

TEST(Schedule, OneCycleOfFewStepsStaysFinite) {
  for (int64_t steps = 1; steps < 8; ++steps) {
    for (const std::string text : {"onecycle", "onecycle:phases=3", "onecycle:start=0.5"}) {
      for (const double rate : rates(text, steps)) {
        EXPECT_TRUE(std::isfinite(rate)) << text << " of " << steps;
        EXPECT_GE(rate, 0);
        EXPECT_LE(rate, kBase * (1 + 1e-15));
      }
    }
  }
}

TEST(Schedule, OneCycleWithoutMaximumRisesToTheBaseRate) {
  EXPECT_DOUBLE_EQ(rates("onecycle", 10)[2], kBase);
}

TEST(Schedule, StaysAtItsEndBeyondTheTotal) {
  const Schedule schedule = parse_schedule("cosine:min=0.01");
  EXPECT_DOUBLE_EQ(learning_rate(schedule, kBase, {.good_step = 500, .total_steps = 100}, {}), 0.01);
}

std::vector<double> plateau_rates(const std::string& text, const std::vector<double>& metrics) {
  const Schedule schedule = parse_schedule(text);
  PlateauState state = start_plateau(kBase);
  std::vector<double> out;
  for (const double metric : metrics) {
    // Through the text form each time, as a resume would.
    state = plateau_from_json(to_json(observe_metric(schedule, state, metric)));
    out.push_back(learning_rate(schedule, kBase, {.good_step = 3, .total_steps = 100}, state));
  }
  return out;
}

TEST(Schedule, PlateauIsPyTorchsReduceLROnPlateau) {
  const std::vector<double> losses{1.0,  0.9,  0.90001,      0.89999, 0.9, 0.95, 0.8, 0.85, 0.86,
                                   0.87, 0.88, std::nan(""), 0.9,     0.9, 0.9,  0.9, 0.9,  0.9};
  expect_close(plateau_rates("plateau:factor=0.5,patience=2", losses),
               {0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125, 0.0125,
                0.00625, 0.00625, 0.00625});
  expect_close(plateau_rates("plateau:factor=0.5,patience=1,cooldown=2,min=0.02", losses),
               {0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025, 0.02, 0.02, 0.02,
                0.02, 0.02, 0.02});
  std::vector<double> accuracies;
  for (const double loss : losses) accuracies.push_back(1 - loss);
  expect_close(
      plateau_rates("plateau:factor=0.5,patience=0,threshold=0.02,threshold_mode=abs,mode=max", accuracies),
      {0.1, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.00625, 0.003125, 0.0015625, 0.00078125, 0.000390625,
       0.0001953125, 9.765625e-05, 4.8828125e-05, 2.44140625e-05, 1.220703125e-05, 6.103515625e-06,
       3.0517578125e-06});
}

TEST(Schedule, OnlyPlateauHasState) {
  const PlateauState state = observe_metric(parse_schedule("cosine"), start_plateau(kBase), 3);
  EXPECT_FALSE(state.best.has_value());
  EXPECT_EQ(state.lr, kBase);
}

TEST(Schedule, DamagedPlateauStateIsRefused) {
  EXPECT_THROW(plateau_from_json("{}"), Error);
  EXPECT_THROW(plateau_from_json("{\"lr\":"), Error);
  EXPECT_THROW(plateau_from_json(R"({"lr":"x","best":null,"bad_epochs":0,"cooldown_left":0})"), Error);
}

TEST(ScheduleText, ReadsBackWhatItWrites) {
  for (const std::string text :
       {"constant", "step:size=30,gamma=0.1", "step:steps=500,gamma=0.30000000000000004", "cosine:min=1e-05",
        "linear:end=0.02", "onecycle:max=0.1,start=0.3,div=25,final_div=10000,anneal=cos,phases=2",
        "onecycle:start=0.25,div=25,final_div=10000,anneal=linear,phases=3",
        "plateau:factor=0.1,patience=3,threshold=0.0001,threshold_mode=abs,cooldown=2,min=1e-06,mode=max"})
    EXPECT_EQ(to_string(parse_schedule(text)), text);
}

TEST(ScheduleText, MistakesAreNamed) {
  EXPECT_NE(error_of("cosinus").find("'cosinus' is no schedule"), std::string::npos);
  EXPECT_NE(error_of("").find("'' is no schedule"), std::string::npos);
  EXPECT_NE(error_of("step").find("needs either size"), std::string::npos);
  EXPECT_NE(error_of("step:size=3,steps=4").find("needs either size"), std::string::npos);
  EXPECT_NE(error_of("step:size=0").find("size must be a whole number of at least 1 and at most"),
            std::string::npos);
  EXPECT_NE(error_of("step:size=3x").find("got '3x'"), std::string::npos);
  EXPECT_NE(error_of("step:size=3,gama=1").find("'gama' is no parameter of 'step'"), std::string::npos);
  EXPECT_NE(error_of("step:size=3,gamma=1.5").find("gamma must be above 0"), std::string::npos);
  EXPECT_NE(error_of("step:size=3,size=3").find("given twice"), std::string::npos);
  EXPECT_NE(error_of("step:size").find("expected name=value, got 'size'"), std::string::npos);
  EXPECT_NE(error_of("step:size=").find("expected name=value"), std::string::npos);
  EXPECT_NE(error_of("step:size=3,").find("last comma"), std::string::npos);
  EXPECT_NE(error_of("step:").find("nothing follows the colon"), std::string::npos);
  EXPECT_NE(error_of("constant:x=1").find("has no parameters"), std::string::npos);
  EXPECT_NE(error_of("cosine:min=-1").find("min must be"), std::string::npos);
  EXPECT_NE(error_of("cosine:min=nan").find("min must be"), std::string::npos);
  EXPECT_NE(error_of("onecycle:anneal=cubic").find("anneal must be cos or linear, got 'cubic'"),
            std::string::npos);
  EXPECT_NE(error_of("onecycle:phases=3,start=0.6").find("at most 0.5"), std::string::npos);
  EXPECT_NE(error_of("plateau:factor=1").find("factor must be"), std::string::npos);
}

}  // namespace
}  // namespace halftone::train
