#include "par/processors.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "base/cgroups.h"
#include "par/pool.h"

namespace halftone::par {
namespace {

// One group's own quota.
std::optional<double> quota_of(const std::string& folder, bool version2) {
  std::string quota;
  double period = 0;
  if (version2) {
    std::ifstream file(folder + "/cpu.max");
    if (!(file >> quota >> period)) return std::nullopt;
  } else {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
    if (!(quota_file >> quota) || !(period_file >> period)) return std::nullopt;
  }
  std::istringstream number(quota);
  double microseconds = 0;
  // "max" and -1 are no limit.
  if (!(number >> microseconds) || microseconds <= 0 || period <= 0) return std::nullopt;
  return microseconds / period;
}

int affinity_count() {
  // A kernel for more processors than the mask has room for refuses it with EINVAL.
  for (size_t room = 1024; room <= size_t{1} << 20; room *= 2) {
    cpu_set_t* const set = CPU_ALLOC(room);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(room);
    CPU_ZERO_S(bytes, set);
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const int reason = errno;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return std::max(count, 1);
    if (reason != EINVAL) break;
  }
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

std::optional<double> cgroup_quota(const std::string& root) {
  std::optional<double> least;
  for (const Cgroup& group : cgroups("cpu", root)) {
    const std::optional<double> quota = quota_of(group.folder, group.version2);
    if (quota) least = std::min(least.value_or(*quota), *quota);
  }
  return least;
}

int Processors::threads() const {
  if (!quota) return affinity;
  return static_cast<int>(std::clamp<double>(std::round(*quota), 1, affinity));
}

Processors available_processors() {
  return {affinity_count(), cgroup_quota()};
}

int available_threads() {  // declared in par/pool.h
  return available_processors().threads();
}

}  // namespace halftone::par
