// How an element-wise function of several broadcast operands walks over its output: kernel calls of rows x
// cols, in which each operand has a stride along the rows and one (0 or 1) along the columns.
#pragma once

#include <array>
#include <vector>

#include "ops/chunks.h"
#include "tensor/shape.h"

namespace halftone::ops {

class BroadcastLoop {
 public:
  static constexpr size_t kMost = 3;

  // Operands' shapes broadcast to y's.
  BroadcastLoop(const Shape& y, const std::vector<Shape>& operands);

  int64_t row_stride(size_t operand) const { return rows_.stride[operand]; }
  int64_t col_stride(size_t operand) const { return cols_.stride[operand]; }

  struct Part {
    std::array<int64_t, kMost> first;  // element of each operand
    int64_t out;                       // element of y
    int64_t rows, cols;
  };
  // body(part) for each, in fixed chunks.
  template <class Body>
  void run(par::Pool& pool, const Body& body) const {
    const int64_t groups = ceil_div(outer_count_, outer_per_chunk_);
    run_chunks(pool, groups * blocks_, [&](int64_t chunk, int) {
      const int64_t block = chunk % blocks_;
      const int64_t row = block / col_blocks_ * row_step_;
      const int64_t col = block % col_blocks_ * col_step_;
      const int64_t first = chunk / blocks_ * outer_per_chunk_;
      const int64_t last = std::min(outer_count_, first + outer_per_chunk_);
      for (int64_t outer = first; outer < last; ++outer)
        body(part(outer, row, col, std::min(row_step_, rows_.size - row),
                  std::min(col_step_, cols_.size - col)));
    });
  }

 private:
  // A run of axes along which each operand either moves or stands still.
  struct Axis {
    int64_t size = 1;
    std::array<int64_t, kMost> stride{};
  };
  Part part(int64_t outer, int64_t row, int64_t col, int64_t rows, int64_t cols) const;

  std::vector<Axis> outer_;
  int64_t outer_count_ = 1;
  int64_t outer_per_chunk_ = 1;
  Axis rows_;
  Axis cols_;
  int64_t row_step_ = 1;    // rows in a call
  int64_t col_step_ = 1;    // columns in a call
  int64_t blocks_ = 1;      // calls for each outer index
  int64_t col_blocks_ = 1;  // of them along the columns
};

// The element of a broadcast operand that element `i` of y (row-major) reads.
int64_t operand_element(const Shape& y, const Shape& operand, int64_t i);

}  // namespace halftone::ops
