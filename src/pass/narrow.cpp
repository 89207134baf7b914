#include "pass/narrow.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

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

void measure(const Tensor& before, const Tensor& after, NarrowLoss& loss) {
  const Tensor a = converted(before, DType::kF64);
  const Tensor b = converted(after, DType::kF64);
  loss.elements = a.size();
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.as<double>()[static_cast<size_t>(i)];
    const double y = b.as<double>()[static_cast<size_t>(i)];
    const double magnitude = std::abs(x);
    loss.largest = std::max(loss.largest, magnitude);
    if (x != 0 && y == 0) {
      ++loss.flushed;
    } else if (std::isfinite(x) && !std::isfinite(y)) {
      ++loss.overflowed;
    } else if (y != 0 && std::abs(y) < smallest_normal(after.dtype())) {
      ++loss.subnormal;
    } else if (x != 0 && std::isfinite(x)) {
      loss.worst_relative_error = std::max(loss.worst_relative_error, std::abs(y - x) / magnitude);
    }
  }
}

}  // namespace

Tensor narrow(const ir::Value& value, NarrowLoss* loss) {
  HT_ASSERT(value.data != nullptr, "{} has no data", value.name);
  Tensor out = converted(*value.data, value.type.dtype);
  if (loss != nullptr) {
    loss->name = value.name;
    measure(*value.data, out, *loss);
  }
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
