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
#include <vector>

#include "par/pool.h"

namespace halftone::par {
namespace {

struct Mount {
  std::string root;   // the group that is mounted
  std::string point;  // where
  bool version2;
};

// /proc writes blanks and backslashes of a path as \ and three octal digits.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_word(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

// The mounts that can hold cpu limits. Source: proc_pid_mountinfo(5).
std::vector<Mount> cpu_mounts(const std::string& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string id, parent, device, mounted, point, type, source, options;
    if (!(before >> id >> parent >> device >> mounted >> point) || !(after >> type >> source >> options)) continue;
    const bool version2 = type == "cgroup2";
    if (version2 || (type == "cgroup" && has_word(options, "cpu")))
      mounts.push_back({unescaped(mounted), unescaped(point), version2});
  }
  return mounts;
}

// The group's path under its mount. A path that is not below what is mounted belongs to another namespace: the
// mount's own group is the nearest that can be seen.
std::string path_in(const Mount& mount, const std::string& group) {
  if (mount.root == "/") return group == "/" || group.compare(0, 4, "/../") == 0 || group == "/.." ? "" : group;
  if (group == mount.root) return "";
  if (group.compare(0, mount.root.size() + 1, mount.root + "/") == 0) return group.substr(mount.root.size());
  return "";
}

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
  const std::vector<Mount> mounts = cpu_mounts(root);
  std::optional<double> least;
  std::ifstream groups(root + "/proc/self/cgroup");
  // hierarchy:controllers:path; version 2 has no controllers. Source: cgroups(7).
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    const bool version2 = controllers.empty();
    if (!version2 && !has_word(controllers, "cpu")) continue;
    for (const Mount& mount : mounts) {
      if (mount.version2 != version2) continue;
      // A group has at most what the groups above it have.
      for (std::string path = path_in(mount, group);; path.erase(path.rfind('/'))) {
        const std::optional<double> quota = quota_of(root + mount.point + path, version2);
        if (quota) least = std::min(least.value_or(*quota), *quota);
        if (path.rfind('/') == std::string::npos) break;
      }
    }
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
