#include "kern/lane/table.h"
#include "kern/simd/loops.h"
#include "kern/simd/row.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void softmax(const SoftmaxArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    // exp is most of the work: that of a row's first columns is kept from the sum to the quotients.
    constexpr int64_t kRoom = 2048;
    alignas(64) float kept[kRoom];
    const int64_t room = a.log || a.known ? 0 : kRoom;
    const int64_t known = room < a.cols ? room : a.cols;
    for (int64_t r = 0; r < a.rows; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.cols;
      T* y = static_cast<T*>(a.y) + r * a.cols;
      float* const max = static_cast<float*>(a.max);
      float* const sum = static_cast<float*>(a.sum);
      const RowSoftmax row = a.known ? RowSoftmax{F32(max[r]), F32(sum[r]), log(F32(sum[r]))}
                                     : row_softmax(x, a.cols, kept, room);
      if (max != nullptr && !a.known) {
        max[r] = lane0(row.max);
        sum[r] = lane0(row.sum);
      }
      if (a.log) {
        map(x, y, a.cols, [&](F32 value) { return (value - row.max) - row.log_sum; });
      } else {
        map(kept, y, known, [&](F32 value) { return value / row.sum; });
        map(x + known, y + known, a.cols - known, [&](F32 value) { return exp(value - row.max) / row.sum; });
      }
    }
  });
  if (!done) ref_fma::kernels().softmax(a);
}

void softmax_grad(const SoftmaxGradArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.log, [&](auto log_form) {
      for (int64_t r = 0; r < a.rows; ++r) {
        const T* y = static_cast<const T*>(a.y) + r * a.cols;
        const T* dy = static_cast<const T*>(a.dy) + r * a.cols;
        T* dx = static_cast<T*>(a.dx) + r * a.cols;
        F32 lanes(0.0F);
        for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
          const F32 g = load_part(dy + c, full, count);
          if constexpr (log_form.value) {
            lanes = lanes + g;
          } else {
            lanes = fma(g, load_part(y + c, full, count), lanes);
          }
        });
        const F32 sum(tree_sum(lanes));
        for_vectors(a.cols, [&](int64_t c, auto full, int64_t count) {
          const F32 g = load_part(dy + c, full, count);
          const F32 p = load_part(y + c, full, count);
          const F32 result = log_form.value ? fma(F32(0.0F) - exp(p), sum, g) : p * (g - sum);
          store_part(dx + c, result, full, count);
        });
      }
    });
  });
  if (!done) ref_fma::kernels().softmax_grad(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
