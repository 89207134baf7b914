// Errors that a user can cause, and assertions for those only we can.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "halftone/error.h"

namespace halftone {

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
