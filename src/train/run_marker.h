// What a run's folder holds, as the file in it says that marks it as one: which results lie there, with their
// sizes and CRCs. Private to src/train.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::train::run_marker {

inline constexpr std::string_view kModel = "model.onnx";

bool is_checkpoint(std::string_view name);
// Names of what a run writes besides its results.
bool is_of_a_run(std::string_view name);
void remove(const std::string& path);

std::string marker_of(const std::string& folder);
bool has_marker(const std::string& folder);

struct Result {
  std::string name;   // as printable() shows it
  int64_t bytes = 0;  // kBeingWritten: whatever is there
  uint32_t crc = 0;
};
inline constexpr int64_t kBeingWritten = -1;

struct Marker {
  int64_t process = 0;
  std::string kind;  // NewRun::kind; empty: an earlier version did not say
  std::vector<Result> results;
};

// The newest line that can be understood: a process that is killed, or a power failure, may leave half of
// one, or zeros.
Marker read_marker(int fd, const std::string& folder);
Marker marker_in(const std::string& folder);

// One more line: those before stay until this one is on the disk. What is begun is an empty line after half
// of one.
void write_marker(int fd, const std::string& folder, const Marker& marker);
// For what later runs go by, not for the process that has the lock.
void write_marker_durably(int fd, const std::string& folder, const Marker& marker);

// The file of a result as it lies there.
Result result_of(const std::string& folder, const std::string& name);
bool is_unchanged(const std::string& folder, const std::string& name, const Marker& marker);
// Of a result that was not completed.
bool is_unfinished(std::string_view name, const Marker& marker);

}  // namespace halftone::train::run_marker
