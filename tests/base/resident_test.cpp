#include "base/resident.h"

#include <gtest/gtest.h>

#ifdef __linux__
#include <sys/mman.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "base/pages.h"

namespace halftone {
namespace {

constexpr size_t kBytes = size_t{1} << 20;

// A megabyte of a file, mapped; byte i is i / kPageBytes.
class MappedFile {
 public:
  explicit MappedFile(int protection) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
    std::string bytes(kBytes, '\0');
    for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<char>(i / kPageBytes);
    if (file == nullptr || std::fwrite(bytes.data(), 1, kBytes, file.get()) != kBytes ||
        std::fflush(file.get()) != 0)
      throw std::runtime_error("cannot write a temporary file");
    void* const memory = ::mmap(nullptr, kBytes, protection, MAP_PRIVATE, ::fileno(file.get()), 0);
    if (memory == MAP_FAILED) throw std::runtime_error("cannot map a temporary file");
    memory_ = static_cast<char*>(memory);
  }
  ~MappedFile() { ::munmap(memory_, kBytes); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  char* data() const { return memory_; }

  // Every page's first byte is read: afterwards all are resident.
  bool is_the_file() const {
    bool same = true;
    for (size_t i = 0; i < kBytes; i += kPageBytes)
      same = same && *static_cast<volatile char*>(memory_ + i) == static_cast<char>(i / kPageBytes);
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
  file.data()[5 * kPageBytes] = 'x';
  ASSERT_EQ(::mprotect(file.data(), kBytes, PROT_READ), 0);
  release_unneeded_pages();
  EXPECT_EQ(file.data()[5 * kPageBytes], 'x');
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
