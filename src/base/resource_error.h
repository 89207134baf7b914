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

// What a failed system call on a file is: kResources when the machine is out of something or broken (a full disk, a
// quota, too many open files, a failing device), else kInput. "WHAT: reason of `error`".
Error file_error(int error, std::string_view what);

}  // namespace halftone
