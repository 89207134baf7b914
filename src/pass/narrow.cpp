#include "pass/narrow.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kern/finite.h"
#include "num/half.h"
#include "tensor/float_type.h"
#include "tensor/permutation.h"

namespace halftone::pass {
namespace {

// The smallest normal number of a storage type.
double smallest_normal(DType dtype) {
  return dtype == DType::kF16 ? 0x1p-14 : 0x1p-126;
}

// Without copies in double: the largest tensor of a network would be there five times.
template <class Before, class After>
void measure(const Before* before, const After* after, int64_t n, double normal, NarrowLoss& loss) {
  double largest = loss.largest;
  double worst = loss.worst_relative_error;
  for (int64_t i = 0; i < n; ++i) {
    const double x = num::widen(before[i]);
    const double y = num::widen(after[i]);
    const double magnitude = std::abs(x);
    largest = std::max(largest, magnitude);
    // Nearly every value: finite, and normal afterwards.
    if (std::isfinite(x) && std::isfinite(y) && std::abs(y) >= normal) {
      // A division only where it can change something.
      const double error = std::abs(y - x);
      if (error > worst * magnitude) worst = std::max(worst, error / magnitude);
    } else if (x != 0 && y == 0) {
      ++loss.flushed;
    } else if (std::isfinite(x) && !std::isfinite(y)) {
      ++loss.overflowed;
    } else if (y != 0 && std::abs(y) < normal) {
      ++loss.subnormal;
    }
  }
  loss.largest = largest;
  loss.worst_relative_error = worst;
}

void measure(const Tensor& before, const Tensor& after, NarrowLoss& loss) {
  loss.elements = before.size();
  with_float_type(before.dtype(), [&]<class Before>(Before) {
    with_float_type(after.dtype(), [&]<class After>(After) {
      measure(static_cast<const Before*>(before.data()), static_cast<const After*>(after.data()),
              before.size(), smallest_normal(after.dtype()), loss);
    });
  });
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

void refuse_non_finite(const ir::Value& value, const Tensor& stored, bool infinities) {
  if (!kern::any_non_finite(stored.dtype(), stored.data(), stored.size())) return;
  const std::shared_ptr<const Tensor> file = value.initial();
  HT_ASSERT(file != nullptr, "{} has no data", value.name);
  int64_t count = 0;
  int64_t first = -1;
  double bad = 0;
  with_float_type(file->dtype(), [&]<class T>(T) {
    const auto* x = static_cast<const T*>(file->data());
    for (int64_t i = 0; i < file->size(); ++i) {
      const double element = num::widen(x[i]);
      if (std::isfinite(element) || (std::isinf(element) && !infinities)) continue;
      if (first < 0) first = i, bad = element;
      ++count;
    }
  });
  if (first < 0) return;  // rounding made it infinite, or it may be
  std::string index;
  int64_t rest = first;
  for (size_t axis = file->shape().size(); axis-- > 0;) {
    index = fmt::format("{}{}{}", rest % file->shape()[axis], index.empty() ? "" : ",", index);
    rest /= file->shape()[axis];
  }
  throw input_error(
      "tensor {} of the file: {} of its {} values are not finite; the first is {} at index [{}]\n  nothing "
      "can be computed "
      "with it; use an earlier checkpoint of the model, or export it again",
      value.name, count, file->size(), bad, index);
}

Tensor widen(const Tensor& stored, const std::vector<int64_t>& storage_axes) {
  Tensor out = is_16bit(stored.dtype()) ? converted(stored, DType::kF32) : stored.clone();
  return storage_axes.empty() ? std::move(out) : transposed(out, inverse(storage_axes));
}

}  // namespace halftone::pass
