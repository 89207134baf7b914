#include "tensor/tensor.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.h"
#include "base/pages.h"
#include "num/half.h"
#include "tensor/float_type.h"

namespace halftone {
namespace {

constexpr size_t kAlignment = 64;  // a cache line and a 512-bit vector

// From this size on the system itself gives the memory: zeroed, nothing resident before it is written, and
// all of it goes back when the tensor does. What malloc is given back it may keep.
constexpr size_t kFromSystem = size_t{1} << 20;

template <class T>
void transpose_as(const Tensor& from, const Shape& strides, Tensor& out) {
  const Shape& shape = out.shape();
  const auto* source = static_cast<const T*>(from.data());
  auto* target = static_cast<T*>(out.data());
  const size_t outer = shape.empty() ? 0 : shape.size() - 1;
  const int64_t row = shape.empty() ? 1 : shape.back();
  const int64_t stride = shape.empty() ? 1 : strides.back();
  Shape index(outer, 0);
  int64_t offset = 0;
  for (int64_t done = 0; done < out.size(); done += row) {
    for (int64_t i = 0; i < row; ++i) *target++ = source[offset + i * stride];
    for (size_t d = outer; d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace

void Tensor::Free::operator()(std::byte* p) const {
  if (mapped > 0) {
    unmap_pages(p, mapped);
  } else {
    std::free(p);
  }
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)), size_(elements(shape_)) {
  int64_t needed = 0;
  if (__builtin_mul_overflow(size_, size_bytes(dtype_), &needed))
    throw input_error("a tensor of shape {} is too large", to_string(shape_));
  const size_t rounded =
      (static_cast<size_t>(needed) + kAlignment) / kAlignment * kAlignment;  // never zero bytes
  if (rounded >= kFromSystem) {
    std::byte* const block = map_pages(rounded);
    if (block == nullptr) throw std::bad_alloc();
    data_ = {block, Free{rounded}};
    return;
  }
  data_ = {static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)), Free{}};
  if (!data_) throw std::bad_alloc();
  std::memset(data_.get(), 0, rounded);
}

Tensor Tensor::clone() const {
  if (empty()) return {};
  Tensor copy(dtype_, shape_);
  std::memcpy(copy.data(), data(), static_cast<size_t>(bytes()));
  return copy;
}

Tensor Tensor::reshaped(Shape shape) const {
  HT_ASSERT(elements(shape) == size_, "{} to {}", to_string(shape_), to_string(shape));
  Tensor copy = clone();
  copy.shape_ = std::move(shape);
  return copy;
}

Tensor converted(const Tensor& from, DType to) {
  if (from.dtype() == to) return from.clone();
  Tensor out(to, from.shape());
  if (is_float(to)) {
    with_float_type(from.dtype(), [&]<class From>(From) {
      with_float_type(to, [&]<class To>(To) {
        const auto* source = static_cast<const From*>(from.data());
        auto* target = static_cast<To*>(out.data());
        for (int64_t i = 0; i < out.size(); ++i)
          target[i] = num::narrow<To>(static_cast<double>(num::widen(source[i])));
      });
    });
  } else {
    const std::vector<int64_t> values = to_int64s(from);
    for (size_t i = 0; i < values.size(); ++i) {
      if (to == DType::kI64) out.as<int64_t>()[i] = values[i];
      if (to == DType::kI32) out.as<int32_t>()[i] = static_cast<int32_t>(values[i]);
      if (to == DType::kU8) out.as<uint8_t>()[i] = static_cast<uint8_t>(values[i]);
    }
  }
  return out;
}

std::vector<int64_t> to_int64s(const Tensor& tensor) {
  std::vector<int64_t> values(static_cast<size_t>(tensor.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (tensor.dtype()) {
      case DType::kI64:
        values[i] = tensor.as<int64_t>()[i];
        break;
      case DType::kI32:
        values[i] = tensor.as<int32_t>()[i];
        break;
      case DType::kU8:
        values[i] = tensor.as<uint8_t>()[i];
        break;
      default:
        HT_ASSERT(false, "an integer type was expected, got {}", name_of(tensor.dtype()));
    }
  }
  return values;
}

Tensor int64_tensor(const std::vector<int64_t>& values, Shape shape) {
  Tensor out(DType::kI64, std::move(shape));
  HT_ASSERT(out.size() == static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) out.as<int64_t>()[i] = values[i];
  return out;
}

Tensor transposed(const Tensor& from, const std::vector<int64_t>& axes) {
  const size_t rank = from.shape().size();
  HT_ASSERT(axes.size() == rank);
  const Shape source_strides = strides_of(from.shape());
  Shape shape(rank);
  Shape strides(rank);
  for (size_t i = 0; i < rank; ++i) {
    shape[i] = from.shape()[static_cast<size_t>(axes[i])];
    strides[i] = source_strides[static_cast<size_t>(axes[i])];
  }
  Tensor out(from.dtype(), shape);
  switch (size_bytes(from.dtype())) {
    case 1:
      transpose_as<uint8_t>(from, strides, out);
      break;
    case 2:
      transpose_as<uint16_t>(from, strides, out);
      break;
    case 4:
      transpose_as<uint32_t>(from, strides, out);
      break;
    default:
      HT_ASSERT(size_bytes(from.dtype()) == 8);
      transpose_as<uint64_t>(from, strides, out);
  }
  return out;
}

}  // namespace halftone
