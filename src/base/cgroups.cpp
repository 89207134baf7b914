#include "base/cgroups.h"

#include <fstream>
#include <sstream>

namespace halftone {
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

// The mounts that can hold the controller's files. Source: proc_pid_mountinfo(5).
std::vector<Mount> mounts_of(const std::string& controller, const std::string& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string id, parent, device, mounted, point, type, source, options;
    if (!(before >> id >> parent >> device >> mounted >> point) || !(after >> type >> source >> options))
      continue;
    const bool version2 = type == "cgroup2";
    if (version2 || (type == "cgroup" && has_word(options, controller)))
      mounts.push_back({unescaped(mounted), unescaped(point), version2});
  }
  return mounts;
}

// The group's path under its mount. A path that is not below what is mounted belongs to another namespace:
// the mount's own group is the nearest that can be seen.
std::string path_in(const Mount& mount, const std::string& group) {
  if (mount.root == "/")
    return group == "/" || group.compare(0, 4, "/../") == 0 || group == "/.." ? "" : group;
  if (group == mount.root) return "";
  if (group.compare(0, mount.root.size() + 1, mount.root + "/") == 0) return group.substr(mount.root.size());
  return "";
}

}  // namespace

std::vector<Cgroup> cgroups(const std::string& controller, const std::string& root) {
  const std::vector<Mount> mounts = mounts_of(controller, root);
  std::vector<Cgroup> found;
  std::ifstream groups(root + "/proc/self/cgroup");
  // hierarchy:controllers:path; version 2 has no controllers. Source: cgroups(7).
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    const bool version2 = controllers.empty();
    if (!version2 && !has_word(controllers, controller)) continue;
    for (const Mount& mount : mounts) {
      if (mount.version2 != version2) continue;
      for (std::string path = path_in(mount, group);; path.erase(path.rfind('/'))) {
        found.push_back({root + mount.point + path, version2});
        if (path.rfind('/') == std::string::npos) break;
      }
    }
  }
  return found;
}

}  // namespace halftone
