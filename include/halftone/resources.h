// The one kind of error (halftone/error.h) that neither options nor files cause.
#pragma once

#include "halftone/error.h"

namespace halftone {

// The machine: a full or failing disk, memory, threads (exit code 5).
inline constexpr ErrorKind kResources = static_cast<ErrorKind>(3);
static_assert(static_cast<int>(ErrorKind::kNumerical) < static_cast<int>(kResources));

}  // namespace halftone
