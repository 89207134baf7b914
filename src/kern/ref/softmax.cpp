#include "kern/lane/formula.h"
#include "kern/lane/table.h"
#include "kern/ref/row.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void softmax(const SoftmaxArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.cols;
      T* y = static_cast<T*>(a.y) + r * a.cols;
      R* const max = static_cast<R*>(a.max);
      R* const sum = static_cast<R*>(a.sum);
      const RowSoftmax<R> row =
          a.known ? RowSoftmax<R>{max[r], sum[r], a.log ? log(sum[r]) : R(0)} : row_softmax(x, a.cols);
      if (max != nullptr && !a.known) {
        max[r] = row.max;
        sum[r] = row.sum;
      }
      for (int64_t c = 0; c < a.cols; ++c) {
        const R shifted = load(x + c) - row.max;
        store(y + c, a.log ? shifted - row.log_sum : exp(shifted) / row.sum);
      }
    }
  });
}

void softmax_grad(const SoftmaxGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* y = static_cast<const T*>(a.y) + r * a.cols;
      const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
      T* dx = static_cast<T*>(a.dx) + r * a.cols;
      R lanes[kLanes] = {};
      for (int64_t c = 0; c < a.cols; ++c) {
        R& lane = lanes[c % kLanes];
        lane = a.log ? lane + load(dy + c) : fma(load(dy + c), load(y + c), lane);
      }
      const R sum = tree_sum(lanes);
      for (int64_t c = 0; c < a.cols; ++c) {
        const R g = load(dy + c);
        const R p = load(y + c);
        store(dx + c, a.log ? fma(R(0) - exp(p), sum, g) : p * (g - sum));
      }
    }
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
