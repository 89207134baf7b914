#include "base/pages.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>

namespace halftone {
namespace {

size_t whole_pages(size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

std::byte* map(size_t bytes) {
  void* block = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return block == MAP_FAILED ? nullptr : static_cast<std::byte*>(block);
}

}  // namespace

std::byte* map_pages(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * kHugePageBytes) {
    errno = ENOMEM;
    return nullptr;
  }
  const size_t rounded = whole_pages(bytes);
  if (rounded < kHugePageBytes) return map(rounded);
  // The system aligns only what is a whole number of huge pages: ask for one more, and give back what lies
  // around.
  std::byte* const block = map(rounded + kHugePageBytes);
  if (block == nullptr) return nullptr;
  const size_t ahead =
      (kHugePageBytes - reinterpret_cast<uintptr_t>(block) % kHugePageBytes) % kHugePageBytes;
  if (ahead > 0) ::munmap(block, ahead);
  std::byte* const begin = block + ahead;
  ::munmap(begin + rounded, kHugePageBytes - ahead);
  ::madvise(begin, rounded, MADV_HUGEPAGE);
  return begin;
}

void unmap_pages(std::byte* memory, size_t bytes) {
  ::munmap(memory, whole_pages(bytes));
}

}  // namespace halftone
