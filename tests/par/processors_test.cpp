#include "par/processors.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "par/pool.h"

namespace halftone::par {
namespace {

namespace fs = std::filesystem;

// A folder with the files of /proc and /sys that say what the limits are.
class CgroupQuota : public ::testing::Test {
 protected:
  CgroupQuota() {
    root_ = fs::path(::testing::TempDir()) /
            (std::string("cgroup-") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
  }
  ~CgroupQuota() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    const fs::path file = root_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void groups(const std::string& cgroup, const std::string& mountinfo) const {
    write("proc/self/cgroup", cgroup);
    write("proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/root rw\n" + mountinfo);
  }
  std::optional<double> quota() const { return cgroup_quota(root_.string()); }

  fs::path root_;
};

constexpr const char* kVersion2 =
    "30 21 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST_F(CgroupQuota, NoneWithoutAnyFile) {
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(CgroupQuota, Version2) {
  groups("0::/app\n", kVersion2);
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/app/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota(), 1.5);
  write("sys/fs/cgroup/app/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(CgroupQuota, Version2HasAtMostWhatTheGroupsAboveHave) {
  groups("0::/a/b/c\n", kVersion2);
  write("sys/fs/cgroup/a/cpu.max", "50000 50000\n");
  write("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  write("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), 1.0);
  write("sys/fs/cgroup/a/b/c/cpu.max", "25000 100000\n");
  EXPECT_EQ(quota(), 0.25);
}

TEST_F(CgroupQuota, Version2InANamespaceOfItsOwn) {
  // A container that sees its group as the root.
  groups("0::/\n", kVersion2);
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2.0);
  // And one whose process was moved out of what is mounted.
  groups("0::/../other\n", kVersion2);
  EXPECT_EQ(quota(), 2.0);
}

TEST_F(CgroupQuota, Version1) {
  groups("4:memory:/m\n3:cpu,cpuacct:/slice/app\n1:name=systemd:/slice\n",
         "33 21 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
         "34 21 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
  write("sys/fs/cgroup/cpu,cpuacct/slice/app/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/slice/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/cpu,cpuacct/slice/cpu.cfs_quota_us", "300000\n");
  write("sys/fs/cgroup/cpu,cpuacct/slice/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 3.0);
}

TEST_F(CgroupQuota, Version1WhereAContainersGroupIsMounted) {
  // The group's path is the host's, the mount shows its inside; the mount's path has a blank.
  groups("3:cpu:/docker/abc/inner\n",
         "33 21 0:29 /docker/abc /sys/fs/my\\040cgroup rw - cgroup cgroup rw,cpu\n");
  write("sys/fs/my cgroup/cpu.cfs_quota_us", "120000\n");
  write("sys/fs/my cgroup/cpu.cfs_period_us", "60000\n");
  EXPECT_EQ(quota(), 2.0);
  write("sys/fs/my cgroup/inner/cpu.cfs_quota_us", "30000\n");
  write("sys/fs/my cgroup/inner/cpu.cfs_period_us", "60000\n");
  EXPECT_EQ(quota(), 0.5);
}

TEST_F(CgroupQuota, FilesThatMakeNoSenseAreNoLimit) {
  groups("0::/app\nnonsense\n", std::string(kVersion2) + "nonsense - x\n");
  for (const char* text : {"", "abc", "100000", "100000 0", "-5 100000", "0 100000"}) {
    write("sys/fs/cgroup/app/cpu.max", text);
    EXPECT_EQ(quota(), std::nullopt) << text;
  }
}

TEST(Processors, ThreadsAreTheMaskOrTheQuotaRounded) {
  EXPECT_EQ((Processors{8, std::nullopt}.threads()), 8);
  EXPECT_EQ((Processors{8, 16.0}.threads()), 8);
  EXPECT_EQ((Processors{8, 3.0}.threads()), 3);
  EXPECT_EQ((Processors{8, 1.5}.threads()), 2);
  EXPECT_EQ((Processors{8, 1.4}.threads()), 1);
  EXPECT_EQ((Processors{8, 0.1}.threads()), 1);
}

TEST(Processors, TheMaskIsThisThreads) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(available_processors().affinity, CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(available_processors().affinity, 1);
  EXPECT_EQ(available_threads(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace halftone::par
