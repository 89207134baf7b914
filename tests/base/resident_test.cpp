#include "base/resident.h"

#include <gtest/gtest.h>

#ifdef __linux__
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace halftone {
namespace {

constexpr size_t kBytes = size_t{1} << 20;
constexpr size_t kPage = 4096;

// A megabyte of a file, mapped; byte i is i / 4096.
class MappedFile {
 public:
  explicit MappedFile(int protection) {
    std::string name = ::testing::TempDir() + "resident-XXXXXX";
    const int fd = ::mkstemp(name.data());
    EXPECT_GE(fd, 0);
    ::unlink(name.c_str());
    std::string bytes(kBytes, '\0');
    for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<char>(i / kPage);
    EXPECT_EQ(::write(fd, bytes.data(), kBytes), static_cast<ssize_t>(kBytes));
    memory_ = static_cast<char*>(::mmap(nullptr, kBytes, protection, MAP_PRIVATE, fd, 0));
    ::close(fd);
    EXPECT_NE(memory_, MAP_FAILED);
  }
  ~MappedFile() { ::munmap(memory_, kBytes); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  char* data() const { return memory_; }

  // Every page's first byte is read: afterwards all are resident.
  bool is_the_file() const {
    bool same = true;
    for (size_t i = 0; i < kBytes; i += kPage)
      same = same && *static_cast<volatile char*>(memory_ + i) == static_cast<char>(i / kPage);
    return same;
  }
  int64_t resident() const {
    std::ifstream smaps("/proc/self/smaps");
    char begin[32];
    std::snprintf(begin, sizeof begin, "%lx-", reinterpret_cast<unsigned long>(memory_));
    bool here = false;
    for (std::string line; std::getline(smaps, line);) {
      if (line.rfind(begin, 0) == 0) here = true;
      long long kib = 0;
      if (here && std::sscanf(line.c_str(), "Rss: %lld", &kib) == 1) return kib * 1024;
    }
    return -1;
  }

 private:
  char* memory_ = nullptr;
};

TEST(ReleaseUnneededPages, GivesBackWhatTheFileStillHas) {
  const MappedFile file(PROT_READ);
  ASSERT_TRUE(file.is_the_file());
  ASSERT_EQ(file.resident(), static_cast<int64_t>(kBytes));
  EXPECT_GE(release_unneeded_pages(), static_cast<int64_t>(kBytes));
  EXPECT_EQ(file.resident(), 0);
  EXPECT_TRUE(file.is_the_file());
}

// Relocated tables and a debugger's breakpoints are such pages: the file doesn't have what they hold.
TEST(ReleaseUnneededPages, KeepsChangedPagesThatAreReadOnlyNow) {
  const MappedFile file(PROT_READ | PROT_WRITE);
  file.data()[5 * kPage] = 'x';
  ASSERT_EQ(::mprotect(file.data(), kBytes, PROT_READ), 0);
  release_unneeded_pages();
  EXPECT_EQ(file.data()[5 * kPage], 'x');
}

TEST(ReleaseUnneededPages, KeepsWritablePages) {
  const MappedFile file(PROT_READ | PROT_WRITE);
  file.data()[0] = 'x';
  release_unneeded_pages();
  EXPECT_EQ(file.data()[0], 'x');
}

}  // namespace
}  // namespace halftone
#endif
