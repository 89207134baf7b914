#include <gtest/gtest.h>

#include <exception>
#include <new>
#include <stdexcept>

#include "halftone/process.h"

namespace halftone {
namespace {

using ::testing::ExitedWithCode;

void throw_something() {
  throw std::runtime_error("something");
}
void throw_where_nothing_may() noexcept {
  throw_something();
}

// Asks the allocator itself, so that it is the one that fails.
void allocate_where_nothing_may() noexcept {
  volatile size_t too_much = size_t{1} << 62;
  ::operator delete(::operator new(too_much));
}

TEST(Terminate, OneLineAndACode) {
  end_where_errors_cannot_be_passed_on();
  EXPECT_EXIT(allocate_where_nothing_may(), ExitedWithCode(5), "^halftone: out of memory[^\n]*\n$");
  EXPECT_EXIT(throw_where_nothing_may(), ExitedWithCode(1), "internal error[^\n]*\n$");
  std::set_terminate(nullptr);
  std::set_new_handler(nullptr);
}

}  // namespace
}  // namespace halftone
