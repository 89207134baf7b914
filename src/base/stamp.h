// Whether a file is still the one that it was.
#pragma once

#include <cstdint>
#include <string>

namespace halftone {

// Size and time of modification; bytes -1: there is no file. A copy that kept both counts as the same file.
struct Stamp {
  int64_t bytes = -1;
  int64_t seconds = 0, nanoseconds = 0;
  bool operator==(const Stamp&) const = default;
};

Stamp stamp_of(const std::string& path);
// The same of an open file. Error: the disk fails; it names the path.
Stamp stamp_of(int descriptor, const std::string& path);

// Error (input): the file is gone, or was changed or replaced, since the run began.
void check_stamp(const std::string& path, const Stamp& now, const Stamp& before);

}  // namespace halftone
