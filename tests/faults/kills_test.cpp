// SIGKILL at random moments, of resumed runs too: what is left goes on to the bytes of a run that nobody
// disturbed. Twelve kills in the short test, a thousand in the long one (HALFTONE_LONG_FAULTS=1).
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/clock.h"
#include "e2e/program.h"
#include "faults/run_result.h"
#include "faults/tiny_run.h"

namespace halftone::faults {
namespace {

// Whether it was killed before its end.
bool killed_after(double seconds, const Arguments& arguments, e2e::Outcome& outcome) {
  e2e::Setting setting;
  const double end = now_seconds() + seconds;
  setting.until = [&] { return now_seconds() > end; };
  setting.signals = {SIGKILL};
  outcome = e2e::run_with(arguments, setting);
  return outcome.signal == SIGKILL;
}

TEST(Kills, AtRandomMomentsLoseNothing) {
  const TinyRun run;
  const std::string out = run / "a";
  struct Kind {
    Arguments start;
    std::string expected;
    double seconds;
  };
  std::vector<Kind> kinds;
  for (const Arguments& more : {Arguments{"--epochs", "20"},
                                Arguments{"--epochs", "20", "--precision", "bf16", "--optimizer", "adam",
                                          "--lr", "0.01", "--threads", "2"},
                                Arguments{"--epochs", "20", "--precision", "fp32", "--multiply", "auto",
                                          "--accumulate", "2", "--schedule", "plateau:patience=0"},
                                Arguments{"--epochs", "20", "--optimizer", "rmsprop", "--rounding", "kahan",
                                          "--lr", "0.01", "--loader-threads", "3"}}) {
    Kind kind{run.train(kinds.size() % 2 == 0 ? run.network() : run.external_network(), out, more), "", 0};
    std::filesystem::remove_all(out);
    const double begin = now_seconds();
    const e2e::Outcome whole = e2e::run(kind.start);
    ASSERT_EQ(whole.code, 0) << whole.err;
    kind.seconds = now_seconds() - begin;
    kind.expected = result_of_run(out);
    kinds.push_back(kind);
  }
  const int64_t wanted = std::getenv("HALFTONE_LONG_FAULTS") != nullptr ? 1000 : 12;
  std::mt19937_64 random(29);
  std::uniform_real_distribution<double> part(0, 1.05);
  int64_t kills = 0, of_resumed = 0, trials = 0;
  for (; kills < wanted && trials < 5 * wanted && !testing::Test::HasFailure(); ++trials) {
    const Kind& kind = kinds[static_cast<size_t>(trials) % kinds.size()];
    SCOPED_TRACE("trial " + std::to_string(trials) + ": " + e2e::text(kind.start));
    std::filesystem::remove_all(out);
    Arguments next = kind.start;
    e2e::Outcome o;
    while (killed_after(part(random) * kind.seconds, next, o)) {
      ++kills;
      if (next != kind.start) ++of_resumed;
      if (!has_saved(out) || part(random) > 0.5) break;
      next = {"train", "--resume", out, "--quiet"};
    }
    if (o.signal != SIGKILL) {
      EXPECT_EQ(o.code, 0) << o.err;
    } else {
      go_on(out, kind.start);
    }
    EXPECT_TRUE(result_of_run(out) == kind.expected);
  }
  EXPECT_GE(kills, wanted);
  std::printf("%ld kills hit a run, %ld of them one that had been resumed, in %ld trials\n",
              static_cast<long>(kills), static_cast<long>(of_resumed), static_cast<long>(trials));
}

}  // namespace
}  // namespace halftone::faults
