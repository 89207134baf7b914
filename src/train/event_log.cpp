#include "train/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/regular_file.h"
#include "base/resource_error.h"
#include "base/write_all.h"

namespace halftone::train {
namespace {

int64_t step_of_record(std::string_view line, const std::string& path, int64_t number) {
  const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
  if (record.is_object()) {
    const auto step = record.find("step");
    if (step != record.end() && step->is_number_unsigned() && step->get<uint64_t>() <= INT64_MAX)
      return step->get<int64_t>();
  }
  throw input_error("{}, line {}: expected a JSON object with a whole-number \"step\" of 0 or more, got '{}'",
                    path, number, line.substr(0, 80));
}

struct Kept {
  int64_t bytes = 0;
  int64_t last_step = -1;
};

// The prefix of `text` whose records are of steps up to `step`.
Kept prefix_up_to(std::string_view text, int64_t step, const std::string& path) {
  Kept kept;
  int64_t number = 0;
  int64_t previous = -1;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;  // the process was killed in the middle of this line
    const int64_t of_line = step_of_record(text.substr(begin, end - begin), path, ++number);
    if (of_line < previous)
      throw input_error("{}, line {}: step {} comes after step {}", path, number, of_line, previous);
    previous = of_line;
    begin = end + 1;
    if (of_line <= step) kept = {static_cast<int64_t>(begin), of_line};
  }
  return kept;
}

int open_log(const std::string& path, int flags) {
  return create_regular(path, O_APPEND | flags);
}

}  // namespace

EventLog::EventLog(std::string path, int fd, int64_t bytes, int64_t last_step)
    : path_(std::move(path)), fd_(fd), bytes_(bytes), last_step_(last_step) {}

EventLog::EventLog(EventLog&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      bytes_(other.bytes_),
      last_step_(other.last_step_),
      owed_(std::move(other.owed_)) {}

EventLog::~EventLog() {
  if (fd_ >= 0) ::close(fd_);
}

EventLog EventLog::fresh(const std::string& path) {
  EventLog log(path, open_log(path, O_TRUNC), 0, -1);
  sync_folder_of(path);
  return log;
}

EventLog EventLog::resumed(const std::string& path, int64_t step, int64_t bytes) {
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return fresh(path);
  const std::string text = read_file(path);
  std::string_view records = text;
  // What comes behind was not synchronised: after a power failure it may be anything. Of a file that was
  // edited in between, where no record ends there, the steps alone decide.
  const bool of_this_file = bytes >= 0 && bytes <= static_cast<int64_t>(text.size()) &&
                            (bytes == 0 || text[static_cast<size_t>(bytes) - 1] == '\n');
  if (of_this_file) records = records.substr(0, static_cast<size_t>(bytes));
  const Kept kept = prefix_up_to(records, step, path);
  EventLog log(path, open_log(path, 0), kept.bytes, kept.last_step);
  if (::ftruncate(log.fd_, kept.bytes) != 0) throw file_error(errno, "cannot shorten " + path);
  log.sync();
  return log;
}

void EventLog::append(int64_t step, const std::string& json_object) {
  HT_ASSERT(step >= last_step_, "step {} after step {}", step, last_step_);
  HT_ASSERT(json_object.find('\n') == std::string::npos, "a record of several lines: {}", json_object);
  prepare(json_object.size());
  owed_ += json_object;
  owed_ += '\n';
  last_step_ = step;
  write_owed();
}

void EventLog::write_owed() {
  try {
    write_all(fd_, owed_.data(), static_cast<int64_t>(owed_.size()), path_);
  } catch (const Error&) {
    // Half a record would make the next one unreadable. If even shortening fails, resuming drops the
    // incomplete line.
    [[maybe_unused]] const int shortened = ::ftruncate(fd_, bytes_);
    throw;
  }
  bytes_ += static_cast<int64_t>(owed_.size());
  owed_.clear();
}

void EventLog::sync() {
  write_owed();
  if (::fsync(fd_) != 0) throw file_error(errno, "cannot write " + path_);
}

}  // namespace halftone::train
