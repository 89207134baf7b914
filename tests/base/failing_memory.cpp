#include "base/failing_memory.h"

#include <cerrno>
#include <cstddef>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HALFTONE_FAILING_MEMORY 1
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef HALFTONE_FAILING_MEMORY
#endif
#endif
#endif

namespace halftone::test {
namespace {

struct Counting {
  int64_t left = 0;  // allocations until the one that fails; 0: none does
  bool stays = false;
  bool failed = false;
};
thread_local Counting counting;

}  // namespace

FailingMemory::FailingMemory(int64_t first, bool stays) {
  counting = {first, stays, false};
}
FailingMemory::~FailingMemory() {
  counting = {};
}
bool FailingMemory::failed() const {
  return counting.failed;
}

#if defined(HALFTONE_FAILING_MEMORY)
bool memory_can_fail() {
  return true;
}
namespace {
bool fails() {
  Counting& c = counting;
  if (c.left == 0) return false;
  if (c.left == 1) {
    if (!c.stays) c.left = 0;
    c.failed = true;
    errno = ENOMEM;
    return true;
  }
  --c.left;
  return false;
}
}  // namespace
#else
bool memory_can_fail() {
  return false;
}
#endif

}  // namespace halftone::test

#if defined(HALFTONE_FAILING_MEMORY)
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) {
  return halftone::test::fails() ? nullptr : __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  return halftone::test::fails() ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) {
  return halftone::test::fails() ? nullptr : __libc_realloc(block, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  return halftone::test::fails() ? nullptr : __libc_memalign(alignment, size);
}
}  // extern "C"
#endif
