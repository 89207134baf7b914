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
  constexpr size_t kPage = size_t{4} << 10;
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t rounded = (static_cast<size_t>(bytes) + kPage - 1) / kPage * kPage;
  release();  // first: both together may be more than there is
  // Huge pages need a beginning that is a multiple of theirs. What is left of the last one is small pages: no more memory is touched than the plan asks for.
  const size_t reserved = rounded + kHugePage;
  void* block = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED)
    throw usage_error("no memory for the plan's {} bytes ({}); try a smaller --batch with --accumulate",
                      bytes, std::strerror(errno));
  auto* const begin = static_cast<std::byte*>(block);
  const size_t ahead = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (ahead > 0) ::munmap(begin, ahead);
  data_ = begin + ahead;
  if (kHugePage - ahead > 0) ::munmap(data_ + rounded, kHugePage - ahead);
  // Fewer address translations; where the system refuses, small pages are only slower.
  ::madvise(data_, rounded, MADV_HUGEPAGE);
  bytes_ = static_cast<int64_t>(rounded);
  largest_bytes_ = std::max(largest_bytes_, bytes_);
}

}  // namespace halftone::exec
