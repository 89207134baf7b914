#include "exec/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace halftone::exec {

Arena::~Arena() {
  release();
}

void Arena::release() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(bytes_));
  data_ = nullptr;
  bytes_ = 0;
}

void Arena::reserve(int64_t bytes) {
  if (bytes <= bytes_) return;
  constexpr int64_t kHugePage = int64_t{2} << 20;
  const int64_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  release();  // first: both together may be more than there is
  void* block = ::mmap(nullptr, static_cast<size_t>(rounded), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED)
    throw usage_error("no memory for the plan's {} bytes ({}); try a smaller --batch with --accumulate",
                      rounded, std::strerror(errno));
  // Fewer address translations; where the system refuses, small pages are only slower.
  ::madvise(block, static_cast<size_t>(rounded), MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(block);
  bytes_ = rounded;
  largest_bytes_ = std::max(largest_bytes_, rounded);
}

}  // namespace halftone::exec
