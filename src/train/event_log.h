// events.jsonl: one JSON object per line, each with a "step", in ascending order; append-only.
//
// A record reaches the kernel in one write, so a killed process loses none; sync() makes the records survive
// a power cut as well. The order that keeps one record per step through any kill: append the step's records,
// sync(), write the step's checkpoint. After a resume from step N the records of later steps are cut off,
// because those steps run again.
#pragma once

#include <cstdint>
#include <string>

namespace halftone::train {

class EventLog {
 public:
  // An empty log; a file of that name is emptied.
  static EventLog fresh(const std::string& path);
  // Goes on after step `step`: cuts off the records of later steps and an incomplete last line. A missing
  // file begins anew. Errors (file and line): a complete line that is no object with a whole-number "step",
  // steps out of order.
  // With `bytes` >= 0, the size when the checkpoint was written: what was recorded after it goes too, for the
  // same step.
  static EventLog resumed(const std::string& path, int64_t step, int64_t bytes = -1);

  EventLog(EventLog&& other) noexcept;
  EventLog& operator=(EventLog&&) = delete;
  ~EventLog();

  // Takes the memory that appending a record of so many characters needs: append() fails for lack of none
  // then.
  void prepare(size_t characters) { owed_.reserve(owed_.size() + characters + 1); }
  // Appends one record; `json_object` is the text of an object without line breaks that holds "step": step.
  // Steps must not descend. Error when it cannot be written (a full disk); a part that was written is cut off
  // again, and the next append() or sync() tries anew.
  void append(int64_t step, const std::string& json_object);
  // All records are on the disk.
  void sync();
  int64_t bytes() const { return bytes_; }

 private:
  EventLog(std::string path, int fd, int64_t bytes, int64_t last_step);
  void write_owed();

  std::string path_;
  int fd_;
  int64_t bytes_;
  int64_t last_step_;
  std::string owed_;  // not in the file yet
};

}  // namespace halftone::train
