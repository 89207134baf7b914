// Time that passes, unlike cpu_time.h.
#pragma once

#include <chrono>

namespace halftone {

// Seconds since some moment, the same one in the whole process; they never go back.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace halftone
