// The control groups that hold this process, versions 1 and 2.
#pragma once

#include <string>
#include <vector>

namespace halftone {

struct Cgroup {
  std::string folder;  // where its files are
  bool version2 = false;
};

// Those with this controller ("cpu", "memory"), each before the ones above it: a group has at most what the
// groups above it have. Empty where nothing can be read. `root` stands in front of every path, for tests.
std::vector<Cgroup> cgroups(const std::string& controller, const std::string& root = "");

}  // namespace halftone
