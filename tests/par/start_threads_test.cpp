#include "par/start_threads.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>

#include "base/error.h"
#include "halftone/resources.h"

namespace halftone::par {
namespace {

// Threads that wait for the word to end, where there are addresses for a few only.
int start_with_few_addresses() {
  const rlimit limit{rlim_t{1} << 28, rlim_t{1} << 28};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
  std::atomic<bool> over{false};
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  try {
    start_threads(
        threads, 1000,
        [&](int) {
          over.wait(false);
          ++ended;
        },
        [&] {
          over = true;
          over.notify_all();
        },
        "threads that test", "--tests", 1);
  } catch (const Error& e) {
    std::fprintf(stderr, "%d ended; %s\n", ended.load(), e.what());
    return e.kind() == kResources && threads.empty() && ended > 0 ? 0 : 3;
  }
  return 4;
}

TEST(StartThreads, ThatCannotAllStartEndAgain) {
  ::testing::FLAGS_gtest_death_test_style = "fast";
  EXPECT_EXIT(std::_Exit(start_with_few_addresses()), ::testing::ExitedWithCode(0),
              "only [0-9]+ of 1001 threads that test could be started \\(.*\\); try fewer --tests");
}

TEST(StartThreads, EachGetsItsNumber) {
  std::vector<std::thread> threads;
  std::atomic<int> sum{0};
  start_threads(
      threads, 5, [&](int i) { sum += 1 << i; }, [] {}, "threads", "--threads");
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 31);
}

}  // namespace
}  // namespace halftone::par
