// How much memory images take while they are decoded, by all threads together.
#pragma once

#include <cstdint>
#include <utility>

namespace halftone::data {

// Large images wait for each other, so that together they take no more than this, or one alone what it needs.
constexpr int64_t kDecodeBudgetBytes = int64_t{256} << 20;
// Smaller ones neither wait nor count: that many bytes for each thread.
constexpr int64_t kUncountedBytes = int64_t{8} << 20;

// Memory that a decoded image takes; given back when the lease ends. A thread has one at most, and waits for
// nothing else while it has it.
class DecodeLease {
 public:
  DecodeLease() = default;
  // Waits until there is room. Throws Interrupted on a request to stop.
  explicit DecodeLease(int64_t bytes);
  ~DecodeLease();
  DecodeLease(DecodeLease&& other) noexcept : bytes_(std::exchange(other.bytes_, 0)) {}
  DecodeLease& operator=(DecodeLease&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }

 private:
  int64_t bytes_ = 0;
};

}  // namespace halftone::data
