// Errors that a user can cause, and assertions for those only we can.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace halftone {

// What kind of mistake it was; the command line turns it into the exit codes of docs/cli.md.
enum class ErrorKind {
  kUsage,      // an option or a combination of options (exit code 2)
  kInput,      // a file: model, data, checkpoint (exit code 3)
  kNumerical,  // training stopped for numerical reasons (exit code 4)
};

// A mistake of the user or of a file. The message says what was wrong, where, expected, got, and what to try.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <class... Args>
Error usage_error(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kUsage, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
Error input_error(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kInput, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
Error numerical_error(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kNumerical, fmt::format(format, std::forward<Args>(args)...));
}

// A mistake of ours: thrown by HT_ASSERT, in release builds too. Exit code 1.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line,
                                   const std::string& what);

}  // namespace halftone

#define HT_ASSERT(condition, ...)                                                                  \
  do {                                                                                             \
    if (!(condition))                                                                              \
      ::halftone::assertion_failed(#condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
  } while (false)
