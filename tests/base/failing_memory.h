// Allocations that fail, one after the other, whoever makes them: the C++ library, or a library in C such as
// zlib or libspng.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <new>

#include "base/resource_error.h"

namespace halftone::test {

// While it lives, the allocation number `first` (from 1) of this thread fails, with `stays` all that follow,
// too.
class FailingMemory {
 public:
  FailingMemory(int64_t first, bool stays);
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
  // Whether any failed so far.
  bool failed() const;
};
// Not under a sanitizer, which has an allocator of its own.
bool memory_can_fail();

// Each allocation of `work` fails, once and from there on, until it makes no more of them: it must say that
// memory ran out, or do without. The number of points.
template <class Work>
int64_t fail_every_allocation(const Work& work) {
  const auto expected = work();
  int64_t points = 0;
  for (const bool stays : {false, true}) {
    for (int64_t n = 1;; ++n) {
      bool failed = false;
      bool done = false;
      bool same = false;
      try {
        const FailingMemory memory(n, stays);
        try {
          same = work() == expected;
          done = true;
        } catch (const std::bad_alloc&) {
        } catch (...) {
          failed = memory.failed();
          throw;
        }
        failed = memory.failed();
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kResources) << "allocation " << n << ": " << error.what();
      }
      if (done) {
        EXPECT_TRUE(same) << "another result without allocation " << n;
      }
      if (!failed) {
        EXPECT_TRUE(done);
        break;
      }
      ++points;
      if (::testing::Test::HasFailure()) return points;
    }
  }
  return points;
}

}  // namespace halftone::test
