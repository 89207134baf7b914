// The one kind of error (halftone/error.h) that neither options nor files cause.
#pragma once

#include "halftone/error.h"

namespace halftone {

// The machine: a full or failing disk, memory, threads (exit code 5).
inline constexpr ErrorKind kResources = static_cast<ErrorKind>(3);
static_assert(static_cast<int>(ErrorKind::kNumerical) < static_cast<int>(kResources));

// Of a failed system call on a file, by its errno: kResources when the machine is out of something or broken
// (a full disk, a quota, too many open files, a failing device), else kInput.
ErrorKind kind_of_file_error(int error);

}  // namespace halftone
