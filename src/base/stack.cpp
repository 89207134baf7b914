#include <sys/resource.h>

#include "base/memory_limits.h"
#include "base/resource_error.h"
#include "halftone/process.h"

namespace halftone {
namespace {

// Training takes up to 40 KiB on g++ 12; the rest is for deeper files and other compilers.
constexpr int64_t kStackBytes = int64_t{256} << 10;

}  // namespace

void require_stack() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  const auto bytes = static_cast<int64_t>(limit.rlim_cur);
  if (bytes < kStackBytes)
    throw resource_error("the stack may have {} (ulimit -s), and {} are needed; try `ulimit -s 8192`",
                         readable_bytes(bytes), readable_bytes(kStackBytes));
}

}  // namespace halftone
