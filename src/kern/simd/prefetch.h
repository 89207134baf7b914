// Reading ahead. Streams from memory run up to half as fast again: the hardware prefetches within a page of 4
// KiB only, starts anew in each, and knows few streams.
#pragma once

#include <cstdint>

#include "kern/lane/scalar.h"

namespace halftone::kern::HALFTONE_KERN_NS {

inline constexpr int64_t kPrefetchBytes = 4096;

// Asks for what lies `bytes` behind p, into the second-level cache. Beyond an array's end it does nothing.
HALFTONE_INLINE void prefetch(const void* p, int64_t bytes = kPrefetchBytes) {
  __builtin_prefetch(static_cast<const char*>(p) + bytes, 0, 2);
}

// Asks for `bytes` from p on, a row that is wanted soon among rows that don't follow each other.
HALFTONE_INLINE void prefetch_row(const void* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) prefetch(p, i);
}

// Rows of memory that are wanted soon, asked for a few cache lines at a time while something else is
// computed.
class Wanted {
 public:
  Wanted() = default;
  // `rows` rows of row_bytes, stride bytes apart, in `turns` calls of ask().
  Wanted(const void* first, int64_t rows, int64_t row_bytes, int64_t stride, int64_t turns)
      : row_(static_cast<const char*>(first)),
        stride_(stride),
        rows_(rows),
        row_lines_((row_bytes + 63) / 64),
        lines_((rows * row_lines_ + turns - 1) / turns) {}
  HALFTONE_INLINE void ask() {
    for (int64_t i = 0; i < lines_ && rows_ > 0; ++i) {
      prefetch(row_, 64 * line_);
      if (++line_ < row_lines_) continue;
      line_ = 0;
      row_ += stride_;
      --rows_;
    }
  }

 private:
  const char* row_ = nullptr;
  int64_t stride_ = 0, rows_ = 0, row_lines_ = 0, lines_ = 0, line_ = 0;
};

}  // namespace halftone::kern::HALFTONE_KERN_NS
