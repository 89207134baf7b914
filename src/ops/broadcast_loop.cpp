#include "ops/broadcast_loop.h"

#include "base/error.h"

namespace halftone::ops {

BroadcastLoop::BroadcastLoop(const Shape& y, const std::vector<Shape>& operands) {
  HT_ASSERT(operands.size() <= kMost);
  const auto moves = [&](size_t operand, size_t i) -> int64_t {
    const Shape& s = operands[operand];
    return i + s.size() >= y.size() && s[i + s.size() - y.size()] != 1 ? 1 : 0;
  };
  std::vector<Axis> axes;  // innermost first, strides still as 0 or 1
  for (size_t i = y.size(); i-- > 0;) {
    if (y[i] == 1) continue;
    Axis axis;
    axis.size = y[i];
    for (size_t k = 0; k < operands.size(); ++k) axis.stride[k] = moves(k, i);
    if (!axes.empty() && axes.back().stride == axis.stride) {
      axes.back().size *= y[i];
    } else {
      axes.push_back(axis);
    }
  }
  if (axes.empty()) {
    axes.emplace_back();
    for (size_t k = 0; k < operands.size(); ++k) axes.back().stride[k] = 1;
  }
  std::array<int64_t, kMost> elems{1, 1, 1};
  for (Axis& axis : axes)
    for (size_t k = 0; k < operands.size(); ++k)
      if (axis.stride[k] != 0) {
        axis.stride[k] = elems[k];
        elems[k] *= axis.size;
      }
  outer_.assign(axes.rbegin(), axes.rend());
  cols_ = outer_.back();
  outer_.pop_back();
  if (cols_.size > kChunkElements) {  // a call is a part of one row
    col_step_ = kChunkElements;
    col_blocks_ = blocks_ = ceil_div(cols_.size, col_step_);
  } else {
    col_step_ = cols_.size;
    if (!outer_.empty()) {
      rows_ = outer_.back();
      outer_.pop_back();
    }
    row_step_ = std::min(rows_.size, std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, cols_.size)));
    blocks_ = row_step_ > 0 ? ceil_div(rows_.size, row_step_) : 0;
  }
  for (const Axis& axis : outer_) outer_count_ *= axis.size;
  if (blocks_ == 1)
    outer_per_chunk_ = std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, rows_.size * cols_.size));
}

BroadcastLoop::Part BroadcastLoop::part(int64_t outer, int64_t row, int64_t col, int64_t rows,
                                        int64_t cols) const {
  Part p{{}, (outer * rows_.size + row) * cols_.size + col, rows, cols};
  for (size_t k = 0; k < kMost; ++k) p.first[k] = row * rows_.stride[k] + col * cols_.stride[k];
  for (size_t i = outer_.size(); i-- > 0;) {
    const int64_t index = outer % outer_[i].size;
    outer /= outer_[i].size;
    for (size_t k = 0; k < kMost; ++k) p.first[k] += index * outer_[i].stride[k];
  }
  return p;
}

int64_t operand_element(const Shape& y, const Shape& operand, int64_t i) {
  int64_t element = 0;
  int64_t stride = 1;
  for (size_t axis = y.size(); axis-- > 0;) {
    const int64_t index = i % y[axis];
    i /= y[axis];
    if (axis + operand.size() < y.size()) break;
    const int64_t size = operand[axis + operand.size() - y.size()];
    if (size != 1) element += index * stride;
    stride *= size;
  }
  return element;
}

}  // namespace halftone::ops
