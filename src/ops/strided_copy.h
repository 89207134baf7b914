// A copy between two strided views of tensors, cut into chunks: what Transpose, Slice, Pad, Concat, Split and
// Expand run.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

class StridedCopy {
 public:
  // target[target_offset + i . target_strides] = source[source_offset + i . source_strides] over `shape`;
  // strides and offsets in elements. Error when more than 8 dimensions are left after merging those that run
  // together. tensor_bytes: of what is written in several copies, if this is one of them.
  StridedCopy(const kern::Kernels& kernels, DType dtype, const Shape& shape, const Shape& source_strides,
              const Shape& target_strides, int64_t source_offset = 0, int64_t target_offset = 0,
              int64_t tensor_bytes = 0);
  void run(par::Pool& pool, const void* source, void* target) const;

 private:
  void (*copy_)(const kern::CopyArgs&) noexcept;
  int64_t width_;
  int64_t source_offset_;
  int64_t target_offset_;
  Shape shape_;
  Shape source_strides_;
  Shape target_strides_;
  size_t split_ = 0;  // the axis that chunks cut; those before it are fixed within a chunk
  int64_t per_chunk_ = 1;
  int64_t blocks_ = 1;  // of the split axis
  int64_t chunks_ = 1;
  bool past_caches_;
};

// All of y set to value.
struct ChunkedFill {
  ChunkedFill(const kern::Kernels& kernels, const Type& type, double value_)
      : fill(kernels.fill), dtype(type.dtype), n(elements(type.shape)), value(value_) {}
  void run(par::Pool& pool, void* y) const;
  void (*fill)(const kern::FillArgs&) noexcept;
  DType dtype;
  int64_t n;
  double value;
};

}  // namespace halftone::ops
