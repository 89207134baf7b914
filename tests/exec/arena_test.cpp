#include "exec/arena.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "halftone/resources.h"

namespace halftone::exec {
namespace {

TEST(Arena, IsAsLargeAsAsked) {
  for (const int64_t bytes :
       {int64_t{1}, int64_t{4096}, int64_t{4097}, int64_t{2} << 20, (int64_t{6} << 20) + 12345}) {
    Arena arena;
    arena.reserve(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.data()) % 64, 0U) << bytes;
    EXPECT_EQ(arena.bytes(), bytes);
    std::memset(arena.data(), 7, static_cast<size_t>(arena.bytes()));
    EXPECT_EQ(static_cast<int>(arena.data()[arena.bytes() - 1]), 7);
  }
}

TEST(Arena, GrowsOnlyWhenItMust) {
  Arena arena;
  arena.reserve(int64_t{3} << 20);
  std::byte* const data = arena.data();
  arena.reserve(int64_t{1} << 20);
  EXPECT_EQ(arena.data(), data);
  arena.reserve(int64_t{5} << 20);
  EXPECT_EQ(arena.bytes(), int64_t{5} << 20);
  arena.release();
  EXPECT_EQ(arena.data(), nullptr);
  EXPECT_EQ(arena.bytes(), 0);
  EXPECT_EQ(arena.largest_bytes(), int64_t{5} << 20);
}

TEST(Arena, SaysWhatTheSystemRefused) {
  for (const bool asked : {false, true}) {
    Arena arena;
    int64_t growth = 0;
    if (asked) arena.before_growth([&](int64_t bytes) { growth = bytes; });
    try {
      arena.reserve(int64_t{1} << 60);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kResources);
      const std::string said = asked ? "1152921504606846976 bytes" : "not enough memory";
      EXPECT_NE(std::string(e.what()).find(said), std::string::npos) << e.what();
    }
    EXPECT_EQ(arena.data(), nullptr);
    EXPECT_EQ(growth, asked ? int64_t{1} << 60 : 0);
  }
}

TEST(Arena, CountsForPlansThatAreNeverRun) {
  Arena arena;
  arena.only_count();
  arena.reserve(int64_t{1} << 60);
  EXPECT_EQ(arena.data(), nullptr);
  EXPECT_EQ(arena.largest_bytes(), int64_t{1} << 60);
}

}  // namespace
}  // namespace halftone::exec
