// Errors of the machine: disk, memory, threads.
#pragma once

#include <string_view>
#include <utility>

#include "base/error.h"
#include "halftone/resources.h"

namespace halftone {

template <class... Args>
Error resource_error(fmt::format_string<Args...> format, Args&&... args) {
  return Error(kResources, fmt::format(format, std::forward<Args>(args)...));
}

// Of a failed system call on a file: "WHAT: reason of `error`", of kind_of_file_error().
Error file_error(int error, std::string_view what);

// For a handler that goes on after an Error: one of the machine says nothing about what was tried, so it is thrown again.
inline void rethrow_if_resource(const Error& e) {
  if (e.kind() == kResources) throw;
}

}  // namespace halftone
