// How much memory the system lets this process have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace halftone {

struct MemoryLimit {
  std::string name;   // for people: "ulimit -v", "the control group's memory.max (FOLDER)", "free memory"
  int64_t bytes = 0;  // what it allows in all
  int64_t left = 0;   // of it, what this process can still take; may be negative
  int64_t swap = 0;   // what it can take besides, on disk
  bool addresses = false;  // what is mapped counts, also what was never written to: threads' stacks
};

// Every limit that is set: of the process (RLIMIT_AS, RLIMIT_DATA), of its control groups of both versions
// and those above them (memory that the system can take back, pages of files, counts as left), and what the
// machine has free. `root` stands in front of every path, for tests. Empty where nothing can be read.
std::vector<MemoryLimit> memory_limits(const std::string& root = "");

// Memory that is about to be used.
struct MemoryNeed {
  int64_t bytes = 0;      // will be written to
  int64_t addresses = 0;  // will be mapped besides
};

// Of the limits that do not leave room for it, the one that leaves least; none: there is room. With `swap`:
// also room on disk.
std::optional<MemoryLimit> exceeded_limit(const std::vector<MemoryLimit>& limits, const MemoryNeed& need,
                                          bool swap);

// "1.90 GiB left of 2.00 GiB (ulimit -v)".
std::string describe(const MemoryLimit& limit);

// Error (resources) when the limits, room on disk included, leave less than `what` needs.
void require_memory(const MemoryNeed& need, const std::string& what, const std::string& root = "");

// "1.25 GiB", "37 MiB", "512 bytes".
std::string readable_bytes(int64_t bytes);

}  // namespace halftone
