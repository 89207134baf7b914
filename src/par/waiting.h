// How a thread of the pool waits for work.
#pragma once

#include <cstdint>

namespace halftone::par {

// How long a thread stays awake without work: about what waking it costs, so that the wait is never dearer
// than twice the better choice.
inline constexpr int64_t kAwakeNs = 50'000;

}  // namespace halftone::par
