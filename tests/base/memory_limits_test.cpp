#include "base/memory_limits.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "halftone/resources.h"

namespace halftone {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMib = int64_t{1} << 20;

// A folder with the files of /proc and /sys that say what the limits are.
class MemoryLimits : public ::testing::Test {
 protected:
  MemoryLimits() {
    root_ = fs::path(::testing::TempDir()) /
            (std::string("memory-") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
  }
  ~MemoryLimits() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    const fs::path file = root_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void process(const std::string& data, const std::string& addresses) const {
    write("proc/self/limits",
          "Limit                     Soft Limit           Hard Limit           Units     \n"
          "Max data size             " +
              data +
              " unlimited            bytes     \n"
              "Max address space         " +
              addresses + "            unlimited            bytes     \n");
    write("proc/self/status",
          "Name:\thalftone\nVmPeak:\t 90000 kB\nVmSize:\t   40960 kB\nVmData:\t   10240 kB\n");
  }
  std::vector<MemoryLimit> limits() const { return memory_limits(root_.string()); }

  fs::path root_;
};

constexpr const char* kVersion2 =
    "30 21 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST_F(MemoryLimits, NoneWithoutAnyFile) {
  EXPECT_TRUE(limits().empty());
  require_memory({.bytes = int64_t{1} << 50}, "a test", root_.string());
}

TEST_F(MemoryLimits, OfTheProcessCountAddressesInUse) {
  process("unlimited", "unlimited");
  EXPECT_TRUE(limits().empty());
  process("unlimited", "104857600");
  ASSERT_EQ(limits().size(), 1U);
  EXPECT_EQ(limits()[0].name, "ulimit -v");
  EXPECT_EQ(limits()[0].bytes, 100 * kMib);
  EXPECT_EQ(limits()[0].left, 60 * kMib);
  EXPECT_TRUE(limits()[0].addresses);
  process("20971520", "104857600");
  ASSERT_EQ(limits().size(), 2U);
  EXPECT_EQ(limits()[1].name, "ulimit -d");
  EXPECT_EQ(limits()[1].left, 10 * kMib);
}

TEST_F(MemoryLimits, OfTheMachineAreFreeMemoryAndSwap) {
  write("proc/meminfo",
        "MemTotal:       2048 kB\nMemFree:  100 kB\nMemAvailable:    1024 kB\nSwapFree:         512 kB\n");
  ASSERT_EQ(limits().size(), 1U);
  EXPECT_EQ(limits()[0].left, kMib);
  EXPECT_EQ(limits()[0].swap, kMib / 2);
  EXPECT_FALSE(exceeded_limit(limits(), {.bytes = kMib}, false));
  EXPECT_TRUE(exceeded_limit(limits(), {.bytes = kMib + 1}, false));
  EXPECT_FALSE(exceeded_limit(limits(), {.bytes = kMib + 1}, true));
  // Threads' stacks are not resident before they are used.
  EXPECT_FALSE(exceeded_limit(limits(), {.bytes = 0, .addresses = 100 * kMib}, true));
}

TEST_F(MemoryLimits, Version2WithTheGroupsAbove) {
  write("proc/self/cgroup", "0::/a/b\n");
  write("proc/self/mountinfo", kVersion2);
  write("sys/fs/cgroup/a/memory.max", "104857600\n");
  write("sys/fs/cgroup/a/memory.current", "73400320\n");
  write("sys/fs/cgroup/a/memory.stat",
        "anon 100\nfile 31457280\ninactive_file 10485760\nactive_file 10485760\n");
  write("sys/fs/cgroup/a/b/memory.max", "max\n");
  write("sys/fs/cgroup/a/b/memory.current", "1000\n");
  ASSERT_EQ(limits().size(), 1U);
  EXPECT_EQ(limits()[0].left, 50 * kMib);  // pages of files can be taken back
  EXPECT_TRUE(limits()[0].name.find("/a)") != std::string::npos) << limits()[0].name;
  write("sys/fs/cgroup/a/b/memory.max", "20971520\n");
  ASSERT_EQ(limits().size(), 2U);
  const auto worst = exceeded_limit(limits(), {.bytes = 60 * kMib}, true);
  ASSERT_TRUE(worst);
  EXPECT_TRUE(worst->name.find("/a/b)") != std::string::npos) << worst->name;
}

TEST_F(MemoryLimits, Version2SwapIsWhatGroupAndMachineHave) {
  write("proc/self/cgroup", "0::/\n");
  write("proc/self/mountinfo", kVersion2);
  write("proc/meminfo", "SwapFree: 8192 kB\n");
  write("sys/fs/cgroup/memory.max", "1048576\n");
  write("sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(limits().at(0).swap, 8 * kMib);
  write("sys/fs/cgroup/memory.swap.max", "3145728\n");
  write("sys/fs/cgroup/memory.swap.current", "1048576\n");
  EXPECT_EQ(limits().at(0).swap, 2 * kMib);
  write("sys/fs/cgroup/memory.swap.max", "0\n");
  EXPECT_EQ(limits().at(0).swap, 0);
}

TEST_F(MemoryLimits, Version1) {
  write("proc/self/cgroup", "4:memory:/m/n\n3:cpu,cpuacct:/slice\n");
  write("proc/self/mountinfo", "33 21 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "52428800\n");
  write("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "31457280\n");
  write("sys/fs/cgroup/memory/m/memory.stat", "inactive_file 1\ntotal_inactive_file 10485760\n");
  write("sys/fs/cgroup/memory/m/n/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/m/n/memory.usage_in_bytes", "31457280\n");
  ASSERT_EQ(limits().size(), 1U);
  EXPECT_EQ(limits()[0].left, 30 * kMib);
}

TEST_F(MemoryLimits, WhatIsNotThereIsRefusedWithTheLimitsName) {
  process("unlimited", "104857600");
  try {
    require_memory({.bytes = 50 * kMib, .addresses = 16 * kMib}, "the test", root_.string());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kResources);
    EXPECT_STREQ(
        e.what(),
        "not enough memory for the test: it needs 66 MiB, and there are 60 MiB left of 100 MiB (ulimit -v)");
  }
  require_memory({.bytes = 50 * kMib, .addresses = 10 * kMib}, "the test", root_.string());
}

TEST_F(MemoryLimits, OddFilesAreNoLimits) {
  process("nonsense", "");
  write("proc/self/cgroup", "0::/\n\n::\nx\n");
  write("proc/self/mountinfo", std::string(kVersion2) + "- - -\n");
  for (const char* odd : {"", "-1\n", "abc\n", "99999999999999999999999\n", "max\n"}) {
    write("sys/fs/cgroup/memory.max", odd);
    write("sys/fs/cgroup/memory.current", "0\n");
    EXPECT_TRUE(limits().empty()) << odd;
  }
}

TEST(ReadableBytes, InTheUnitThatFits) {
  EXPECT_EQ(readable_bytes(0), "0 bytes");
  EXPECT_EQ(readable_bytes(9999), "9999 bytes");
  EXPECT_EQ(readable_bytes(10 << 10), "10 KiB");
  EXPECT_EQ(readable_bytes(kMib * 3 / 2), "1.5 MiB");
  EXPECT_EQ(readable_bytes(100 * kMib), "100 MiB");
  EXPECT_EQ(readable_bytes(1536 * kMib), "1.50 GiB");
  EXPECT_EQ(readable_bytes(20480 * kMib), "20.0 GiB");
}

}  // namespace
}  // namespace halftone
