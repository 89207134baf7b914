// Byte sequences with values, walked byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace halftone::text {

class ByteTrie {
 public:
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNowhere = UINT32_MAX;
  static constexpr int32_t kNoValue = -1;

  // False, and nothing changes, where the sequence has a value already. Values are not negative.
  bool add(std::string_view sequence, int32_t value);
  bool empty() const { return values_.size() == 1 && values_[0] == kNoValue; }

  uint32_t next(uint32_t node, char byte) const;  // kNowhere where no sequence goes on so
  uint32_t walk(std::string_view sequence, uint32_t node = kRoot) const;
  int32_t value(uint32_t node) const { return values_[node]; }

 private:
  struct Edge {
    uint64_t key = 0;  // one more than parent * 256 + byte; 0: free
    uint32_t child = 0;
  };
  static uint64_t key_of(uint32_t node, char byte) {
    return (uint64_t{node} << 8 | static_cast<uint8_t>(byte)) + 1;
  }
  size_t slot_of(uint64_t key) const;
  void grow();

  std::vector<Edge> edges_ = std::vector<Edge>(64);
  std::vector<int32_t> values_ = {kNoValue};
};

}  // namespace halftone::text
