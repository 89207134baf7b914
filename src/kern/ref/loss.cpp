#include "kern/lane/table.h"
#include "kern/ref/row.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void cross_entropy(const CrossEntropyArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const R smoothing = R(a.smoothing);
    const R share = smoothing / static_cast<R>(a.cols);
    const R rest = R(1) - smoothing;
    const R scale = R(a.grad_scale);
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.cols;
      const int64_t label = a.labels[r];
      const RowSoftmax<R> row = row_softmax(x, a.cols);
      const R log_p = (load(x + label) - row.max) - row.log_sum;
      R loss = R(0) - log_p;
      if (a.smoothing != 0.0F) {
        R lanes[kLanes] = {};
        for (int64_t c = 0; c < a.cols; ++c)
          lanes[c % kLanes] = lanes[c % kLanes] + ((load(x + c) - row.max) - row.log_sum);
        loss = R(0) - fma(rest, log_p, share * tree_sum(lanes));
      }
      static_cast<R*>(a.loss)[r] = loss;
      int64_t first = 0;
      while (first < a.cols && !(load(x + first) == row.max)) ++first;
      a.correct[r] = first == label ? 1 : 0;
      if (a.dx == nullptr) continue;
      T* dx = static_cast<T*>(a.dx) + r * a.cols;
      for (int64_t c = 0; c < a.cols; ++c) {
        const R p = exp(load(x + c) - row.max) / row.sum;
        store(dx + c, scale * (p - (c == label ? rest + share : share)));
      }
    }
  });
}

void pointwise_loss(const PointwiseLossArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    choose(a.kind, [&](auto kind) {
      const T* x = static_cast<const T*>(a.x);
      const R* target = static_cast<const R*>(a.target);
      T* dx = static_cast<T*>(a.dx);
      const R scale = R(a.grad_scale);
      R lanes[kLanes] = {};
      for (int64_t i = 0; i < a.n; ++i) {
        const LossValue<R> value = pointwise_value<kind.value>(load(x + i), target[i]);
        lanes[i % kLanes] = lanes[i % kLanes] + value.loss;
        if (dx != nullptr) store(dx + i, scale * value.slope);
      }
      *static_cast<R*>(a.loss) = tree_sum(lanes);
    });
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
