#include "par/pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

namespace halftone::par {
namespace {

TEST(Pool, RunsEveryChunkOnce) {
  for (const int threads : {1, 2, 3, 4}) {
    Pool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t chunks : {0, 1, 2, 3, 17, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(chunks));
      std::atomic<bool> workers_in_range{true};
      pool.run(chunks, [&](int64_t chunk, int worker) {
        seen[static_cast<size_t>(chunk)].fetch_add(1);
        if (worker < 0 || worker >= threads) workers_in_range = false;
      });
      for (const auto& count : seen)
        EXPECT_EQ(count.load(), 1) << threads << " threads, " << chunks << " chunks";
      EXPECT_TRUE(workers_in_range);
    }
  }
}

TEST(Pool, ManyShortLoopsInARowLoseNothing) {
  Pool pool(3);
  std::vector<int64_t> sums(8);
  for (int64_t round = 0; round < 5000; ++round)
    pool.run(8, [&](int64_t chunk, int) { sums[static_cast<size_t>(chunk)] += round; });
  for (const int64_t sum : sums) EXPECT_EQ(sum, 5000 * 4999 / 2);
}

TEST(Pool, OnlyOneThreadIsAWorkerAtATime) {
  // Per-worker scratch relies on it: a worker number is never in two bodies at once.
  Pool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> clash{false};
  for (int round = 0; round < 200; ++round)
    pool.run(64, [&](int64_t, int worker) {
      if (inside[static_cast<size_t>(worker)].fetch_add(1) != 0) clash = true;
      inside[static_cast<size_t>(worker)].fetch_sub(1);
    });
  EXPECT_FALSE(clash);
}

TEST(Pool, ThreadsThatSleptTakePartAgain) {
  Pool pool(3);
  for (int round = 0; round < 20; ++round) {
    // Loops go on until another thread has done a chunk: a busy machine may keep them away for some of them.
    std::atomic<bool> helped{false};
    std::atomic<int> work{0};
    for (int loop = 0; loop < 100'000 && !helped.load(); ++loop)
      pool.run(64, [&](int64_t, int worker) {
        if (worker != 0) helped = true;
        for (int i = 0; i < 200; ++i) work.fetch_add(1);
      });
    EXPECT_TRUE(helped.load());
    // In some rounds the threads fall asleep meanwhile.
    if (round % 2 == 0)
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  }
}

TEST(Pool, OneChunkIsTheCallers) {
  Pool pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  for (int i = 0; i < 100; ++i)
    pool.run(1, [&](int64_t, int worker) {
      EXPECT_EQ(worker, 0);
      EXPECT_EQ(std::this_thread::get_id(), caller);
    });
}

TEST(Pool, PoolsThatNeverRunEndAtOnce) {
  for (int i = 0; i < 100; ++i) const Pool pool(4);
}

#if defined(__x86_64__)
TEST(Pool, SubnormalsAreFlushedInsideAndTheCallersModeComesBack) {
  const volatile float tiny = std::numeric_limits<float>::denorm_min();
  Pool pool(2);
  std::atomic<int> kept{0};
  pool.run(64, [&](int64_t, int) {
    const volatile float x = tiny;
    if (x * 2.0F != 0.0F) kept.fetch_add(1);
  });
  EXPECT_EQ(kept.load(), 0);
  EXPECT_NE(tiny * 2.0F, 0.0F);
}
#endif

}  // namespace
}  // namespace halftone::par
