#include "base/resident.h"

#ifdef __linux__
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#endif

namespace halftone {

#ifdef __linux__
namespace {

// A mapping as /proc/self/smaps describes it: a line of its own, then fields with sizes in KiB.
struct Mapping {
  uintptr_t begin = 0, end = 0;
  bool droppable = false;  // of a file, private, read-only
  int64_t resident = 0;
  int64_t own = 0;  // pages that are no longer the file's: relocations, a debugger's breakpoints
};

bool parse_mapping(const std::string& line, Mapping& out) {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t inode = 0;
  char permissions[5] = {};
  if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &begin, &end, permissions,
                  &inode) != 4)
    return false;
  out = {static_cast<uintptr_t>(begin), static_cast<uintptr_t>(end),
         permissions[0] == 'r' && permissions[1] == '-' && permissions[3] == 'p' && inode != 0};
  return true;
}

// The field's size in bytes, or -1.
int64_t field(const std::string& line, const char* name) {
  const size_t length = std::strlen(name);
  long long kib = 0;
  if (line.compare(0, length, name) != 0 || std::sscanf(line.c_str() + length, "%lld", &kib) != 1) return -1;
  return static_cast<int64_t>(kib) * 1024;
}

}  // namespace

int64_t release_unneeded_pages() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
  int64_t sum = 0;
  Mapping mapping;
  const auto drop = [&] {
    if (!mapping.droppable || mapping.own != 0 || mapping.resident <= 0) return;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the system names mappings by number.
    if (::madvise(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin, MADV_DONTNEED) == 0)
      sum += mapping.resident;
  };
  std::ifstream smaps("/proc/self/smaps");
  for (std::string line; std::getline(smaps, line);) {
    Mapping next;
    if (parse_mapping(line, next)) {
      drop();
      mapping = next;
      continue;
    }
    if (const int64_t bytes = field(line, "Rss:"); bytes >= 0) mapping.resident = bytes;
    if (const int64_t bytes = field(line, "Anonymous:"); bytes >= 0) mapping.own = bytes;
  }
  drop();
  return sum;
}
#else
int64_t release_unneeded_pages() {
  return 0;
}
#endif

}  // namespace halftone
