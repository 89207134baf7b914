#include "data/largest_request.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> largest{0};

}  // namespace

// Not inline: where it sees malloc and delete together, g++ 12 takes them for a mismatch.
__attribute__((noinline)) void* operator new(size_t bytes) {
  size_t seen = largest.load(std::memory_order_relaxed);
  while (bytes > seen && !largest.compare_exchange_weak(seen, bytes, std::memory_order_relaxed)) {
  }
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* p) noexcept {
  std::free(p);
}
__attribute__((noinline)) void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace halftone::data {

size_t largest_request() {
  return largest;
}
void reset_largest_request() {
  largest = 0;
}

}  // namespace halftone::data
