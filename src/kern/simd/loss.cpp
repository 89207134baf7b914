#include "kern/lane/table.h"
#include "kern/simd/loops.h"
#include "kern/simd/row.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// The first column that equals the maximum, or cols when there is none (NaN).
template <class T>
HALFTONE_INLINE int64_t first_maximum(const T* x, int64_t cols, F32 max) {
  for (int64_t c = 0; c < cols; c += kLanes) {
    const int64_t count = cols - c < kLanes ? cols - c : kLanes;
    const uint32_t hits = lane_bits((load_n(x + c, count) == max) & first_lanes(count));
    if (hits != 0) return c + __builtin_ctz(hits);
  }
  return cols;
}

}  // namespace

void cross_entropy(const CrossEntropyArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const float share = a.smoothing / static_cast<float>(a.cols);
    const float rest = 1.0F - a.smoothing;
    const F32 scale(a.grad_scale);
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.cols;
      const int64_t label = a.labels[r];
      const RowSoftmax row = row_softmax(x, a.cols);
      const float log_p = lane0((splat(x + label) - row.max) - row.log_sum);
      float loss = 0.0F - log_p;
      if (a.smoothing != 0.0F) {
        F32 lanes(0.0F);
        for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
          const F32 next = lanes + ((load_part(x + c, full, count) - row.max) - row.log_sum);
          lanes = full.value ? next : select(first_lanes(count), next, lanes);
        });
        loss = 0.0F - fma(rest, log_p, share * tree_sum(lanes));
      }
      static_cast<float*>(a.loss)[r] = loss;
      a.correct[r] = first_maximum(x, a.cols, row.max) == label ? 1 : 0;
      if (a.dx == nullptr) continue;
      T* dx = static_cast<T*>(a.dx) + r * a.cols;
      const F32 off(share);
      const F32 on(rest + share);
      for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
        const F32 p = exp(load_part(x + c, full, count) - row.max) / row.sum;
        const U32 at = lane_numbers() + U32(static_cast<uint32_t>(c));
        const F32 target = select(equal(at, U32(static_cast<uint32_t>(label))), on, off);
        store_part(dx + c, scale * (p - target), full, count);
      });
    }
  });
  if (!done) ref_fma::kernels().cross_entropy(a);
}

void pointwise_loss(const PointwiseLossArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.kind, [&](auto kind) {
      const T* x = static_cast<const T*>(a.x);
      const float* target = static_cast<const float*>(a.target);
      T* dx = static_cast<T*>(a.dx);
      const F32 scale(a.grad_scale);
      F32 lanes(0.0F);
      for_vectors(a.n, [&](int64_t i, auto full, int64_t count) {
        const LossValue<F32> value =
            pointwise_value<kind.value>(load_part(x + i, full, count), load_part(target + i, full, count));
        const F32 next = lanes + value.loss;
        lanes = full.value ? next : select(first_lanes(count), next, lanes);
        if (dx != nullptr) store_part(dx + i, scale * value.slope, full, count);
      });
      *static_cast<float*>(a.loss) = tree_sum(lanes);
    });
  });
  if (!done) ref_fma::kernels().pointwise_loss(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
