#include <execinfo.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>
#include <system_error>

#include "halftone/process.h"

namespace halftone {
namespace {

// Of this thread: an exception that leaves a function that may not throw cannot be asked for its type by
// every compiler.
thread_local bool memory_ran_out = false;

void on_new_failed() {
  memory_ran_out = true;
  throw std::bad_alloc();
}

void say(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(2, text.data(), text.size());
}

constexpr int kBugCode = 1;
constexpr int kResourcesCode = 5;

[[noreturn]] void out_of_memory() {
  say("halftone: out of memory; what was saved before is whole\n");
  ::_exit(kResourcesCode);
}

// Nothing here allocates.
[[noreturn]] void on_terminate() {
  const std::exception_ptr error = std::current_exception();
  if (error == nullptr && memory_ran_out) out_of_memory();
  if (error != nullptr) {
    try {
      std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
      out_of_memory();
    } catch (const std::system_error& e) {
      say("halftone: the system refused a thread or a lock: ");
      say(std::strerror(e.code().value()));
      say("\n");
      ::_exit(kResourcesCode);
    } catch (...) {
    }
  }
  say("halftone: internal error: an exception left a function that must not throw; please report it\n");
  ::_exit(kBugCode);
}

}  // namespace

void end_where_errors_cannot_be_passed_on() {
  std::set_new_handler(on_new_failed);
  std::set_terminate(on_terminate);
}

void load_unwinder() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);
}

}  // namespace halftone
