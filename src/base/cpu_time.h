// CPU time, in which what others take from a thread doesn't count.
#pragma once

#include <ctime>

namespace halftone {

// Of this thread, in seconds.
inline double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace halftone
