// One block of memory for a program's activations and scratch, shared by programs that never run at the same
// time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace halftone::exec {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Grows to at least `bytes`; contents are lost. Error when the system has no such memory.
  void reserve(int64_t bytes);
  // Gives everything back to the system until the next reserve().
  void release();
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  int64_t largest_bytes() const { return largest_bytes_; }  // that were ever reserved

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  int64_t largest_bytes_ = 0;
};

}  // namespace halftone::exec
