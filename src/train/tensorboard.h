// TensorBoard event files: scalars by step, in TensorFlow's record framing.
//
// A record is u64 length, u32 masked CRC-32C of the length, the bytes, u32 masked CRC-32C of the bytes; the
// bytes are an Event message (tensorflow/core/util/event.proto: wall_time 1, step 2, file_version 3, summary
// 5, session_log 7), the first with file_version "brain.Event:2". Few fields, so they are encoded here by
// hand. Checked with TensorBoard's own reader in tests/long/tensorboard_check.py.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace halftone::train {

struct TaggedScalar {
  std::string tag;  // "train/loss"
  float value = 0;
};

class TensorBoardWriter {
 public:
  // Seconds since 1970.
  using Clock = std::function<double()>;

  // Begins a new file FOLDER/events.out.tfevents.<seconds>.halftone.<n>; TensorBoard reads a folder's files
  // in the order of their names. After a resume give the first step that runs again: TensorBoard then forgets
  // what earlier files say about it and later steps.
  TensorBoardWriter(const std::string& folder, Clock clock,
                    std::optional<int64_t> purge_from_step = std::nullopt);
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;
  ~TensorBoardWriter();

  // One event with all these scalars. It reaches the kernel in one write. Error when it can't be written (a
  // full disk).
  void add(int64_t step, std::span<const TaggedScalar> scalars);

  const std::string& path() const { return path_; }

 private:
  void write_record(const std::string& event);

  Clock clock_;
  std::string path_;
  int fd_ = -1;
};

// The pieces, for tests: an encoded Event, and a record around bytes.
std::string encode_scalars(double wall_time, int64_t step, std::span<const TaggedScalar> scalars);
std::string frame_record(const std::string& bytes);

}  // namespace halftone::train
