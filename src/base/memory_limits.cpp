#include "base/memory_limits.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "base/cgroups.h"
#include "base/resource_error.h"

namespace halftone {
namespace {

using Numbers = std::map<std::string, int64_t>;

constexpr int64_t kKib = 1024;
// Version 1 writes no limit as the largest number of whole pages.
constexpr int64_t kNoLimit = int64_t{1} << 62;

// A file that holds one number; none for "max" and where there is no such file.
std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (!(file >> number) || number < 0 || number >= kNoLimit) return std::nullopt;
  return number;
}

// Lines of "name number …", a colon after the name or not.
Numbers numbers_in(const std::string& path) {
  Numbers numbers;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t number = 0;
    if (!(words >> name >> number)) continue;
    if (name.back() == ':') name.pop_back();
    numbers[name] = number;
  }
  return numbers;
}

int64_t value(const Numbers& numbers, const std::string& name) {
  const auto it = numbers.find(name);
  return it == numbers.end() ? 0 : it->second;
}

// The soft limit on the line of /proc/self/limits that begins so. Source: proc_pid_limits(5).
std::optional<int64_t> process_limit(const std::string& root, const std::string& line_begins) {
  std::ifstream file(root + "/proc/self/limits");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(line_begins)) continue;
    std::istringstream words(line.substr(line_begins.size()));
    int64_t number = 0;
    if (words >> number && number >= 0 && number < kNoLimit) return number;
  }
  return std::nullopt;
}

// Pages of files go when memory is wanted; those of shared memory, which the system counts among them, do
// not.
int64_t reclaimable(const Numbers& statistics, bool version2) {
  const std::string prefix = version2 ? "" : "total_";
  return value(statistics, prefix + "inactive_file") + value(statistics, prefix + "active_file");
}

std::optional<MemoryLimit> limit_of(const Cgroup& group, int64_t swap_free) {
  const std::string at = group.folder + "/";
  const std::string file = group.version2 ? "memory.max" : "memory.limit_in_bytes";
  const auto most = number_in(at + file);
  if (!most) return std::nullopt;
  const auto used = number_in(at + (group.version2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!used) return std::nullopt;
  MemoryLimit limit{.name = fmt::format("the control group's {} ({})", file, group.folder), .bytes = *most};
  limit.left = *most - *used + std::min(*used, reclaimable(numbers_in(at + "memory.stat"), group.version2));
  limit.swap = swap_free;
  if (group.version2) {
    if (const auto swap = number_in(at + "memory.swap.max"))
      limit.swap = std::min(limit.swap, *swap - number_in(at + "memory.swap.current").value_or(0));
  } else if (const auto both = number_in(at + "memory.memsw.limit_in_bytes")) {
    limit.swap = std::min(limit.swap, *both - *most);
  }
  limit.swap = std::max<int64_t>(limit.swap, 0);
  return limit;
}

}  // namespace

std::vector<MemoryLimit> memory_limits(const std::string& root) {
  std::vector<MemoryLimit> limits;
  const Numbers status = numbers_in(root + "/proc/self/status");
  const auto of_process = [&](const char* line, const char* name, const char* used) {
    const auto most = process_limit(root, line);
    if (most && status.count(used) > 0)
      limits.push_back(
          {.name = name, .bytes = *most, .left = *most - kKib * value(status, used), .addresses = true});
  };
  of_process("Max address space", "ulimit -v", "VmSize");
  of_process("Max data size", "ulimit -d", "VmData");
  const Numbers machine = numbers_in(root + "/proc/meminfo");
  const int64_t swap_free = kKib * value(machine, "SwapFree");
  for (const Cgroup& group : cgroups("memory", root))
    if (auto limit = limit_of(group, swap_free)) limits.push_back(std::move(*limit));
  if (machine.count("MemAvailable") > 0)
    limits.push_back({.name = "the machine's free memory",
                      .bytes = kKib * value(machine, "MemTotal"),
                      .left = kKib * value(machine, "MemAvailable"),
                      .swap = swap_free});
  return limits;
}

std::optional<MemoryLimit> exceeded_limit(const std::vector<MemoryLimit>& limits, const MemoryNeed& need,
                                          bool swap) {
  std::optional<MemoryLimit> worst;
  int64_t least = 0;  // room that it leaves beyond the need
  for (const MemoryLimit& limit : limits) {
    const int64_t room =
        limit.left + (swap ? limit.swap : 0) - need.bytes - (limit.addresses ? need.addresses : 0);
    if (room >= least) continue;
    least = room;
    worst = limit;
  }
  return worst;
}

std::string describe(const MemoryLimit& limit) {
  std::string text = fmt::format("{} left of {}", readable_bytes(std::max<int64_t>(limit.left, 0)),
                                 readable_bytes(limit.bytes));
  if (limit.swap > 0) text += fmt::format(" and {} of swap", readable_bytes(limit.swap));
  return text + fmt::format(" ({})", limit.name);
}

void require_memory(const MemoryNeed& need, const std::string& what, const std::string& root) {
  const auto limit = exceeded_limit(memory_limits(root), need, true);
  if (!limit) return;
  const int64_t bytes = need.bytes + (limit->addresses ? need.addresses : 0);
  throw resource_error("not enough memory for {}: it needs {}, and there are {}", what, readable_bytes(bytes),
                       describe(*limit));
}

std::string readable_bytes(int64_t bytes) {
  constexpr double kMib = 1 << 20;
  constexpr double kGib = 1 << 30;
  const auto b = static_cast<double>(bytes);
  if (b >= 10 * kGib) return fmt::format("{:.1f} GiB", b / kGib);
  if (b >= kGib) return fmt::format("{:.2f} GiB", b / kGib);
  if (b >= 10 * kMib) return fmt::format("{:.0f} MiB", b / kMib);
  if (b >= kMib) return fmt::format("{:.1f} MiB", b / kMib);
  if (b >= 10 * kKib) return fmt::format("{:.0f} KiB", b / kKib);
  return fmt::format("{} bytes", bytes);
}

}  // namespace halftone
