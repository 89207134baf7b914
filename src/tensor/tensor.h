// A dense tensor that owns its bytes: constants, parameters on their way in and out, batches. A running step
// works on planned memory instead (exec/).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "num/dtype.h"
#include "tensor/shape.h"

namespace halftone {

class Tensor {
 public:
  Tensor() = default;
  // Zeroed, 64-byte aligned.
  Tensor(DType dtype, Shape shape);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * size_bytes(dtype_); }
  bool empty() const { return data_ == nullptr; }

  void* data() { return data_.get(); }
  const void* data() const { return data_.get(); }

  // The elements as T, whose size must be the dtype's.
  template <class T>
  std::span<T> as() {
    return {static_cast<T*>(data()), static_cast<size_t>(size_)};
  }
  template <class T>
  std::span<const T> as() const {
    return {static_cast<const T*>(data()), static_cast<size_t>(size_)};
  }

  Tensor clone() const;
  // The same elements under another shape of equal size.
  Tensor reshaped(Shape shape) const;

 private:
  struct Free {
    Free() {}
    explicit Free(size_t bytes) : mapped(bytes) {}
    void operator()(std::byte* p) const;
    size_t mapped = 0;  // bytes of a mapping of its own; 0: from malloc
  };
  DType dtype_ = DType::kF32;
  Shape shape_;
  int64_t size_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

// Element-wise conversion between float types (nearest-even), or between integer types.
Tensor converted(const Tensor& from, DType to);

// The elements of an integer tensor (int64, int32, uint8).
std::vector<int64_t> to_int64s(const Tensor& tensor);
Tensor int64_tensor(const std::vector<int64_t>& values, Shape shape);

// axes[i] is the axis of `from` that becomes axis i. Any type.
Tensor transposed(const Tensor& from, const std::vector<int64_t>& axes);

}  // namespace halftone
