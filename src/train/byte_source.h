// A file, or bytes in memory, read from front to back and never beyond the end; what the readers of untrusted
// files stand on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace halftone::train {

class ByteSource {
 public:
  // Errors: missing, not a regular file, unreadable.
  explicit ByteSource(const std::string& path);
  // The bytes must outlive the source; `name` stands for the path in messages.
  ByteSource(std::string_view bytes, std::string name);
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  ~ByteSource();

  const std::string& name() const { return name_; }
  int64_t size() const { return size_; }
  int64_t position() const { return position_; }
  int64_t remaining() const { return size_ - position_; }

  // Copies the next `bytes` bytes. The caller has checked remaining(); Error when the file shrank meanwhile.
  void read(void* to, int64_t bytes);
  // Moves forward without reading. The caller has checked remaining().
  void skip(int64_t bytes);

 private:
  std::string name_;
  std::string_view memory_;
  int fd_ = -1;
  int64_t size_ = 0;
  int64_t position_ = 0;
};

}  // namespace halftone::train
