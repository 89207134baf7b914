#include "base/pages.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace halftone {
namespace {

TEST(Pages, AreZeroedAndBelongToTheCaller) {
  for (const size_t bytes : {size_t{1}, kPageBytes, kPageBytes + 1, kHugePageBytes - 1, kHugePageBytes,
                             kHugePageBytes + 1, 3 * kHugePageBytes + 12345}) {
    std::byte* const memory = map_pages(bytes);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % (bytes < kHugePageBytes ? kPageBytes : kHugePageBytes),
              0U)
        << bytes;
    for (size_t i = 0; i < bytes; i += 1021) ASSERT_EQ(static_cast<int>(memory[i]), 0) << bytes;
    std::memset(memory, 7, bytes);
    EXPECT_EQ(static_cast<int>(memory[bytes - 1]), 7);
    unmap_pages(memory, bytes);
  }
}

// Neighbours stay whole when one of them goes.
TEST(Pages, GoOneByOne) {
  std::byte* memory[8];
  for (std::byte*& m : memory) {
    m = map_pages(kHugePageBytes + kPageBytes);
    ASSERT_NE(m, nullptr);
  }
  for (int i = 0; i < 8; ++i) std::memset(memory[i], i, kHugePageBytes + kPageBytes);
  for (int i = 0; i < 8; i += 2) unmap_pages(memory[i], kHugePageBytes + kPageBytes);
  for (int i = 1; i < 8; i += 2) {
    EXPECT_EQ(static_cast<int>(memory[i][0]), i);
    EXPECT_EQ(static_cast<int>(memory[i][kHugePageBytes + kPageBytes - 1]), i);
    unmap_pages(memory[i], kHugePageBytes + kPageBytes);
  }
}

TEST(Pages, SaysWhenThereIsNoMemory) {
  for (const size_t bytes : {size_t{1} << 60, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(map_pages(bytes), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
}

}  // namespace
}  // namespace halftone
