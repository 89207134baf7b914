// One block of memory for a program's activations and scratch, shared by programs that never run at the same
// time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace halftone::exec {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Called before memory grows, with the number of bytes that this adds to those that are in use; it may
  // throw. Without it they are compared with what the system allows (base/memory_limits.h).
  void before_growth(std::function<void(int64_t bytes)> check) { before_growth_ = std::move(check); }
  // From now on reserve() takes no memory and only counts, for plans that are never run.
  void only_count() { counts_ = true; }

  // Grows to at least `bytes`; contents are lost. Error (resources) when there is no such memory.
  void reserve(int64_t bytes);
  // Gives everything back to the system until the next reserve().
  void release();
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  int64_t largest_bytes() const { return largest_bytes_; }  // that were ever reserved

 private:
  std::function<void(int64_t)> before_growth_;
  bool counts_ = false;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  int64_t largest_bytes_ = 0;
};

}  // namespace halftone::exec
