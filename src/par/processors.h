// How many processors this process may use: its affinity mask, and what its control groups leave it.
#pragma once

#include <optional>
#include <string>

namespace halftone::par {

struct Processors {
  int affinity = 1;             // processors in the affinity mask
  std::optional<double> quota;  // processors' worth of time that the control groups grant; none: no limit
  // What to start by default: the mask, or the quota where that is less, rounded to the nearest whole number
  // (a thread more than the quota would be stopped for a part of every period), at least 1.
  int threads() const;
};

Processors available_processors();

// The smallest quota among the control groups that hold this process, version 1 (cpu.cfs_quota_us) and 2
// (cpu.max), the groups above included. None where there is no limit or nothing can be read. `root` stands in
// front of every path, for tests.
std::optional<double> cgroup_quota(const std::string& root = "");

}  // namespace halftone::par
