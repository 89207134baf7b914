#include "pass/narrow.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "num/half.h"

namespace halftone::pass {
namespace {

// The smallest normal number of a storage type.
double smallest_normal(DType dtype) {
  return dtype == DType::kF16 ? 0x1p-14 : 0x1p-126;
}

std::vector<int64_t> inverse(const std::vector<int64_t>& perm) {
  std::vector<int64_t> out(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) out[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return out;
}

// An element as a double, whatever float type it has.
double wide(const Tensor& t, int64_t i) {
  const auto k = static_cast<size_t>(i);
  switch (t.dtype()) {
    case DType::kF64:
      return t.as<double>()[k];
    case DType::kF16:
      return num::widen(t.as<num::Fp16>()[k]);
    case DType::kBf16:
      return num::widen(t.as<num::Bf16>()[k]);
    default:
      HT_ASSERT(t.dtype() == DType::kF32);
      return t.as<float>()[k];
  }
}

// Without copies in double: the largest tensor of a network would be there five times.
void measure(const Tensor& before, const Tensor& after, NarrowLoss& loss) {
  loss.elements = before.size();
  const double normal = smallest_normal(after.dtype());
  for (int64_t i = 0; i < before.size(); ++i) {
    const double x = wide(before, i);
    const double y = wide(after, i);
    const double magnitude = std::abs(x);
    loss.largest = std::max(loss.largest, magnitude);
    if (x != 0 && y == 0) {
      ++loss.flushed;
    } else if (std::isfinite(x) && !std::isfinite(y)) {
      ++loss.overflowed;
    } else if (y != 0 && std::abs(y) < normal) {
      ++loss.subnormal;
    } else if (x != 0 && std::isfinite(x)) {
      // A division only where it can change something.
      const double error = std::abs(y - x);
      if (error > loss.worst_relative_error * magnitude)
        loss.worst_relative_error = std::max(loss.worst_relative_error, error / magnitude);
    }
  }
}

}  // namespace

Tensor narrow(const ir::Value& value, NarrowLoss* loss) {
  std::shared_ptr<const Tensor> data = value.initial();
  HT_ASSERT(data != nullptr, "{} has no data", value.name);
  Tensor out = converted(*data, value.type.dtype);
  if (loss != nullptr) {
    loss->name = value.name;
    measure(*data, out, *loss);
  }
  data.reset();
  if (!value.storage_axes.empty()) out = transposed(out, value.storage_axes);
  HT_ASSERT(out.shape() == value.type.shape, "{}: {} against {}", value.name, to_string(out.shape()),
            to_string(value.type.shape));
  return out;
}

Tensor widen(const Tensor& stored, const std::vector<int64_t>& storage_axes) {
  Tensor out = is_16bit(stored.dtype()) ? converted(stored, DType::kF32) : stored.clone();
  return storage_axes.empty() ? std::move(out) : transposed(out, inverse(storage_axes));
}

}  // namespace halftone::pass
