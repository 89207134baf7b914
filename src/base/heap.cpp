#include <malloc.h>
#include <sys/resource.h>

#include "halftone/process.h"

namespace halftone {

void share_heap_where_addresses_are_few() {
#if defined(__GLIBC__)
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) ::mallopt(M_ARENA_MAX, 1);
#endif
}

}  // namespace halftone
