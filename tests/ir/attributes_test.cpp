#include "ir/attributes.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

namespace {

// How many more requests of this thread are granted; negative: all.
thread_local int64_t granted = -1;

}  // namespace

__attribute__((noinline)) void* operator new(size_t bytes) {
  if (granted == 0) throw std::bad_alloc();
  if (granted > 0) --granted;
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* p) noexcept {
  std::free(p);
}
__attribute__((noinline)) void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace halftone::ir {
namespace {

// Runs `work` with the first, second, ... request refused until it succeeds; returns how often it failed.
template <class Work>
int failures_of(const Work& work) {
  for (int n = 0;; ++n) {
    granted = n;
    try {
      work();
      granted = -1;
      return n;
    } catch (const std::bad_alloc&) {
      granted = -1;
    }
  }
}

TEST(Attributes, AreSoundWhenMemoryRunsOutWhileTheyAreMadeAndCopied) {
  const std::vector<int64_t> axes{0, 2, 3, 1};
  const std::vector<double> numbers{1, 2, 3};
  const std::string text(100, 'x');
  int64_t sum = 0;
  const auto make = [&] {
    const Attributes a{
        {"perm", axes}, {"numbers", numbers}, {"a name that has a place of its own on the heap", text}};
    Attributes copy = a;
    copy.set("axes", axes);
    sum += copy.ints_at("perm")[1] +
           static_cast<int64_t>(copy.string_or("a name that has a place of its own on the heap", "").size());
  };
  EXPECT_GT(failures_of(make), 10);
  EXPECT_EQ(sum, 102);
}

}  // namespace
}  // namespace halftone::ir
