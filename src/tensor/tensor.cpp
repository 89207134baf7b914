#include "tensor/tensor.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.h"
#include "num/half.h"

namespace halftone {
namespace {

constexpr size_t kAlignment = 64;  // a cache line and a 512-bit vector

double load(const Tensor& t, int64_t i) {
  const size_t k = static_cast<size_t>(i);
  switch (t.dtype()) {
    case DType::kF64:
      return t.as<double>()[k];
    case DType::kF32:
      return t.as<float>()[k];
    case DType::kF16:
      return num::widen(t.as<num::Fp16>()[k]);
    case DType::kBf16:
      return num::widen(t.as<num::Bf16>()[k]);
    default:
      HT_ASSERT(false, "a float type was expected, got {}", name_of(t.dtype()));
  }
  return 0;
}

void store(Tensor& t, int64_t i, double x) {
  const size_t k = static_cast<size_t>(i);
  switch (t.dtype()) {
    case DType::kF64:
      t.as<double>()[k] = x;
      return;
    case DType::kF32:
      t.as<float>()[k] = static_cast<float>(x);
      return;
    case DType::kF16:
      t.as<num::Fp16>()[k] = num::to_fp16(static_cast<float>(x));
      return;
    case DType::kBf16:
      t.as<num::Bf16>()[k] = num::to_bf16(static_cast<float>(x));
      return;
    default:
      HT_ASSERT(false, "a float type was expected, got {}", name_of(t.dtype()));
  }
}

}  // namespace

void Tensor::Free::operator()(std::byte* p) const {
  std::free(p);
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)), size_(elements(shape_)) {
  int64_t needed = 0;
  if (__builtin_mul_overflow(size_, size_bytes(dtype_), &needed))
    throw input_error("a tensor of shape {} is too large", to_string(shape_));
  const size_t rounded =
      (static_cast<size_t>(needed) + kAlignment) / kAlignment * kAlignment;  // never zero bytes
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
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
    for (int64_t i = 0; i < out.size(); ++i) store(out, i, load(from, i));
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
  const size_t width = static_cast<size_t>(size_bytes(from.dtype()));
  const auto* source = static_cast<const std::byte*>(from.data());
  auto* target = static_cast<std::byte*>(out.data());
  Shape index(rank, 0);
  int64_t offset = 0;
  for (int64_t i = 0; i < out.size(); ++i) {
    std::memcpy(target + static_cast<size_t>(i) * width, source + static_cast<size_t>(offset) * width, width);
    for (size_t d = rank; d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace halftone
