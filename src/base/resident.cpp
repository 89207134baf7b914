#include "base/resident.h"

#ifdef __linux__
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>
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

bool parse_mapping(const char* line, Mapping& out) {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t inode = 0;
  char permissions[5] = {};
  if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &begin, &end, permissions, &inode) !=
      4)
    return false;
  out = Mapping{static_cast<uintptr_t>(begin), static_cast<uintptr_t>(end),
                permissions[0] == 'r' && permissions[1] == '-' && permissions[3] == 'p' && inode != 0};
  return true;
}

// A line's size in bytes, if it is the field's.
void parse_field(const char* line, const char* name, int64_t& bytes) {
  const size_t length = std::strlen(name);
  long long kib = 0;
  if (std::strncmp(line, name, length) == 0 && std::sscanf(line + length, "%lld", &kib) == 1)
    bytes = static_cast<int64_t>(kib) * 1024;
}

std::vector<Mapping> read_mappings() {
  std::vector<Mapping> list;
  std::FILE* const smaps = std::fopen("/proc/self/smaps", "r");
  if (smaps == nullptr) return list;
  Mapping next;
  for (char line[512]; std::fgets(line, sizeof line, smaps) != nullptr;) {
    if (parse_mapping(line, next)) {
      list.push_back(next);
    } else if (!list.empty()) {
      parse_field(line, "Rss:", list.back().resident);
      parse_field(line, "Anonymous:", list.back().own);
    }
  }
  std::fclose(smaps);
  return list;
}

}  // namespace

int64_t release_unneeded_pages() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
  int64_t sum = 0;
  // No streams, and nothing but the loop at the end: code that runs from here on comes back.
  for (const Mapping& m : read_mappings()) {
    if (!m.droppable || m.own != 0 || m.resident == 0) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the system names mappings by number.
    if (::madvise(reinterpret_cast<void*>(m.begin), m.end - m.begin, MADV_DONTNEED) == 0) sum += m.resident;
  }
  return sum;
}
#else
int64_t release_unneeded_pages() {
  return 0;
}
#endif

}  // namespace halftone
