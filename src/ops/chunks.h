// Fixed chunks: how work is split, as a function of shapes only, so that results don't depend on the thread
// count.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "par/pool.h"

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

// Tensors from this size on are written past the caches where nobody reads them at once: they would not stay
// in a second-level cache anyway, and a line that is written whole need not be read from memory first.
inline constexpr int64_t kPastCaches = int64_t{4} << 20;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
// Scratch areas start on cache lines.
constexpr int64_t aligned_bytes(int64_t bytes) {
  return ceil_div(bytes, 64) * 64;
}

inline const std::byte* at(const void* p, int64_t bytes) {
  return static_cast<const std::byte*>(p) + bytes;
}
inline std::byte* at(void* p, int64_t bytes) {
  return static_cast<std::byte*>(p) + bytes;
}

// body(chunk, worker) for each chunk. The function object that the pool gets only refers to `body`, so that
// nothing is allocated.
template <class Body>
void run_chunks(par::Pool& pool, int64_t chunks, const Body& body) {
  pool.run(chunks, std::ref(body));
}

// body(first, count) for each chunk.
template <class Body>
void for_chunks(par::Pool& pool, const Chunks& chunks, const Body& body) {
  run_chunks(pool, chunks.count(),
             [&](int64_t chunk, int) { body(chunks.begin(chunk), chunks.length(chunk)); });
}

}  // namespace halftone::ops
