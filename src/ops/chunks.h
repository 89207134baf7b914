// Fixed chunks: how work is split, as a function of shapes only, so that results don't depend on the thread
// count.
#pragma once

#include <algorithm>
#include <cstdint>

namespace halftone::ops {

struct Chunks {
  int64_t total;  // rows (or elements) altogether
  int64_t size;   // of every chunk but the last
  int64_t count() const { return total == 0 ? 0 : (total + size - 1) / size; }
  int64_t begin(int64_t chunk) const { return chunk * size; }
  int64_t length(int64_t chunk) const { return std::min(size, total - chunk * size); }
};

// 16384 elements a chunk: 32 KiB in 16 bits, which stays in a core's nearest cache when it is read twice, and
// takes several microseconds, long against the cost of handing it out.
inline constexpr int64_t kChunkElements = 16384;

inline Chunks element_chunks(int64_t n) {
  return {n, kChunkElements};
}
inline Chunks row_chunks(int64_t rows, int64_t cols) {
  return {rows, std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, cols))};
}

}  // namespace halftone::ops
