#include "train/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

namespace halftone::train {
namespace {

struct Screen {
  double now = 100;
  std::vector<std::string> writes;
  Progress progress(ProgressStyle style, int columns = 120) {
    return {{.style = style, .columns = columns},
            [this] { return now; },
            [this](std::string_view text) { writes.emplace_back(text); }};
  }
};

ProgressState at(int64_t step) {
  return {.step = step,
          .steps = 390,
          .epoch = 1,
          .epochs = 2,
          .samples = step * 128,
          .loss = 0.50312,
          .accuracy = 0.8243,
          .loss_scale = 1024};
}

TEST(Progress, TheLineHoldsEverything) {
  EXPECT_EQ(Progress::line(at(145), 812.4, 63, 130, true),
            " 37% [===========>                  ] 145/390  epoch 1/2  loss 0.5031  acc 82.4%  812 samples/s "
            " scale 1024  left 1:03");
  EXPECT_EQ(Progress::line(at(145), 8.14, 63, 130, false),
            " 37% 145/390  epoch 1/2  loss 0.5031  acc 82.4%  8.1 samples/s  scale 1024  left 1:03");
  EXPECT_EQ(Progress::line({.step = 0, .steps = 4}, std::nullopt, std::nullopt, 40, true),
            "  0% [>                           ] 0/4");
  EXPECT_EQ(Progress::line({.step = 4, .steps = 4}, std::nullopt, std::nullopt, 40, true),
            "100% [============================] 4/4");
  EXPECT_EQ(Progress::line({}, std::nullopt, std::nullopt, 40, false), "  0% 0/0");
}

TEST(Progress, TextRunsHaveTokensASecond) {
  Screen screen;
  Progress progress = screen.progress(ProgressStyle::kPlain);
  progress.update({.step = 1, .steps = 4, .samples = 8, .tokens = 100});
  screen.now += 10;
  progress.update({.step = 4, .steps = 4, .samples = 32, .tokens = 700});
  EXPECT_NE(screen.writes.back().find("  60 tokens/s"), std::string::npos) << screen.writes.back();
  progress.update({.step = 4, .steps = 4, .samples = 32});
  EXPECT_EQ(screen.writes.back().find("tokens/s"), std::string::npos);
}

TEST(Progress, TheLineNeverWraps) {
  for (int columns = 0; columns < 150; ++columns) {
    const std::string line = Progress::line(at(145), 812.4, 63, columns, true);
    EXPECT_LE(static_cast<int>(line.size()), std::max(columns - 1, 0));
  }
  EXPECT_EQ(Progress::line(at(145), 812.4, 63, 95, true).find('['), std::string::npos)
      << "too little room for a bar";
}

TEST(Progress, SaysOnceWhatAnEpochTakes) {
  Screen screen;
  Progress progress(
      {.style = ProgressStyle::kPlain, .says_how_long = true, .memory = [] { return int64_t{312} << 20; }},
      [&] { return screen.now; }, [&](std::string_view text) { screen.writes.emplace_back(text); });
  for (int64_t step = 1; step <= 100; ++step, screen.now += 0.5) progress.update(at(step));
  std::string all;
  for (const std::string& text : screen.writes) all += text;
  // 390 steps of half a second in two epochs.
  EXPECT_NE(all.find("about 1:38 an epoch, 3:15 for 2\n"), std::string::npos) << all;
  EXPECT_EQ(all.find("an epoch"), all.rfind("an epoch"));
  EXPECT_NE(all.find("samples/s  312 MiB  scale 1024"), std::string::npos) << all;
  EXPECT_EQ(Progress::how_long(9.96, 1), "about 10.0 s an epoch");
  EXPECT_EQ(Progress::how_long(40.4, 5), "about 40 s an epoch, 3:22 for 5");
}

TEST(Progress, OnATerminalOneLineIsRedrawnButNotTooOften) {
  Screen screen;
  Progress progress = screen.progress(ProgressStyle::kTerminal);
  for (int64_t step = 1; step <= 100; ++step, screen.now += 0.01) progress.update(at(step));
  EXPECT_GE(screen.writes.size(), 9U);
  EXPECT_LE(screen.writes.size(), 11U);
  for (const std::string& text : screen.writes) {
    EXPECT_TRUE(text.starts_with("\r\x1b[K")) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
  screen.writes.clear();
  progress.message("warning: x");
  ASSERT_EQ(screen.writes.size(), 1U);
  EXPECT_TRUE(screen.writes[0].starts_with("\r\x1b[Kwarning: x\n 2")) << screen.writes[0];
  progress.finish();
  progress.finish();
  EXPECT_EQ(screen.writes.size(), 2U);
  EXPECT_EQ(screen.writes.back(), "\n");
}

TEST(Progress, ElsewhereALineNowAndThen) {
  Screen screen;
  Progress progress = screen.progress(ProgressStyle::kPlain);
  for (int64_t step = 1; step <= 390; ++step, screen.now += 0.1) progress.update(at(step));
  // 39 seconds: the first step, one every ten seconds, and the last step.
  ASSERT_EQ(screen.writes.size(), 5U);
  for (const std::string& text : screen.writes) {
    EXPECT_TRUE(text.ends_with('\n'));
    EXPECT_EQ(text.find('\r'), std::string::npos);
    EXPECT_EQ(text.find('['), std::string::npos);
  }
  EXPECT_NE(screen.writes[1].find("1280 samples/s"), std::string::npos) << screen.writes[1];
  EXPECT_NE(screen.writes[1].find("left 0:29"), std::string::npos) << screen.writes[1];
  EXPECT_NE(screen.writes.back().find("390/390"), std::string::npos);
  progress.message("note");
  EXPECT_EQ(screen.writes.back(), "note\n");
  progress.finish();
  EXPECT_EQ(screen.writes.back(), "note\n");
}

TEST(Progress, TheRateIsThatOfTheLastWhile) {
  Screen screen;
  Progress progress = screen.progress(ProgressStyle::kPlain);
  int64_t step = 1;
  for (; step <= 100; ++step, screen.now += 1) progress.update(at(step));
  for (; step <= 390; ++step, screen.now += 0.1) progress.update(at(step));
  EXPECT_NE(screen.writes.back().find("1280 samples/s"), std::string::npos) << screen.writes.back();
}

TEST(Progress, AResumedRunMeasuresItsOwnSteps) {
  Screen screen;
  Progress progress = screen.progress(ProgressStyle::kPlain);
  progress.update(at(200));
  screen.now += 20;
  progress.update(at(210));
  EXPECT_NE(screen.writes.back().find("64 samples/s"), std::string::npos) << screen.writes.back();
  EXPECT_NE(screen.writes.back().find("left 6:00"), std::string::npos) << screen.writes.back();
}

TEST(Progress, QuietSaysNothingButWarnings) {
  Screen screen;
  Progress progress = screen.progress(ProgressStyle::kQuiet);
  progress.update(at(390));
  progress.message("x");
  EXPECT_TRUE(screen.writes.empty());
  progress.warning("warning: y");
  progress.finish();
  EXPECT_EQ(screen.writes, std::vector<std::string>{"warning: y\n"});
}

TEST(Progress, StyleFollowsTheOutput) {
  const int fd = ::open("/dev/null", O_WRONLY);
  EXPECT_EQ(progress_style(false, fd), ProgressStyle::kPlain);
  EXPECT_EQ(progress_style(true, fd), ProgressStyle::kQuiet);
  EXPECT_EQ(terminal_columns(fd), 100);
  ::close(fd);
}

TEST(Progress, Durations) {
  EXPECT_EQ(duration_text(0), "0:00");
  EXPECT_EQ(duration_text(59.4), "0:59");
  EXPECT_EQ(duration_text(59.6), "1:00");
  EXPECT_EQ(duration_text(3725), "1:02:05");
  EXPECT_EQ(duration_text(200000), "2d 7:33");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(duration_text(1e300), "?");
}

}  // namespace
}  // namespace halftone::train
