#include "kern/lane/table.h"
#include "kern/pointwise.h"
#include "kern/simd/loops.h"
#include "kern/simd/random.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void unary(const UnaryArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.op, [&](auto op) {
      const F32 alpha(static_cast<float>(a.alpha));
      const F32 beta(static_cast<float>(a.beta));
      map(static_cast<const T*>(a.x), static_cast<T*>(a.y), a.n,
          [&](F32 x) { return unary_value<op.value>(x, alpha, beta); });
    });
  });
  if (!done) ref_fma::kernels().unary(a);
}

void unary_grad(const UnaryGradArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(a.op, [&](auto op) {
      const F32 alpha(static_cast<float>(a.alpha));
      const F32 beta(static_cast<float>(a.beta));
      const T* s = static_cast<const T*>(gradient_reads_y(op.value) ? a.y : a.x);
      const T* dy = static_cast<const T*>(a.dy);
      T* dx = static_cast<T*>(a.dx);
      // Linear operations have no argument to read.
      constexpr bool kReads = op.value != Unary::kNeg && op.value != Unary::kScale;
      for_vectors(a.n, [&](int64_t i, auto full, int64_t count) {
        prefetch(dy + i);
        if constexpr (kReads) prefetch(s + i);
        F32 at(0.0F);
        if constexpr (kReads) at = load_part(s + i, full, count);
        store_part(dx + i, unary_gradient<op.value>(at, load_part(dy + i, full, count), alpha, beta), full,
                   count);
      });
    });
  });
  if (!done) ref_fma::kernels().unary_grad(a);
}

namespace {

// One row; an operand with step 0 is one element for all columns.
template <Binary op, class T>
HALFTONE_INLINE void binary_row(const T* a, int64_t a_step, const T* b, int64_t b_step, T* y, int64_t n) {
  if (n == 0) return;
  if (a_step != 0 && b_step != 0) {
    for_vectors(n, [&](int64_t i, auto full, int64_t count) {
      prefetch(a + i);
      prefetch(b + i);
      prefetch(y + i);
      store_part(y + i, binary_value<op>(load_part(a + i, full, count), load_part(b + i, full, count)), full,
                 count);
    });
  } else if (a_step != 0) {
    const F32 second = splat(b);
    map(a, y, n, [&](F32 first) { return binary_value<op>(first, second); });
  } else if (b_step != 0) {
    const F32 first = splat(a);
    map(b, y, n, [&](F32 second) { return binary_value<op>(first, second); });
  } else {
    const F32 value = binary_value<op>(splat(a), splat(b));
    for_vectors(n, [&](int64_t i, auto full, int64_t count) { store_part(y + i, value, full, count); });
  }
}

// The same operation with as few and as long rows as possible.
BinaryArgs simplified(BinaryArgs a) {
  const bool a_joins = a.a_row == a.cols * a.a_col;
  const bool b_joins = a.b_row == a.cols * a.b_col;
  if (a_joins && b_joins) {
    a.cols *= a.rows;
    a.rows = 1;
  } else if (a.cols == 1 && (a.a_row == 0 || a.a_row == 1) && (a.b_row == 0 || a.b_row == 1)) {
    a.a_col = a.a_row;
    a.b_col = a.b_row;
    a.cols = a.rows;
    a.rows = 1;
  }
  return a;
}

}  // namespace

void binary(const BinaryArgs& given) noexcept {
  const BinaryArgs args = simplified(given);
  const bool done = choose_storage(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(args.op, [&](auto op) {
      for (int64_t r = 0; r < args.rows; ++r)
        binary_row<op.value>(static_cast<const T*>(args.a) + r * args.a_row, args.a_col,
                             static_cast<const T*>(args.b) + r * args.b_row, args.b_col,
                             static_cast<T*>(args.y) + r * args.cols, args.cols);
    });
  });
  if (!done) ref_fma::kernels().binary(given);
}

void convert(const ConvertArgs& a) noexcept {
  bool done = false;
  choose_storage(a.from, [&](auto from) {
    done = choose_storage(a.to, [&](auto to) {
      const auto* x = static_cast<const typename decltype(from)::type*>(a.x);
      auto* y = static_cast<typename decltype(to)::type*>(a.y);
      const auto factor = static_cast<float>(a.scale);
      if (factor == 1.0F) {
        map(x, y, a.n, [](F32 value) { return value; });
      } else {
        const F32 scale(factor);
        map(x, y, a.n, [&](F32 value) { return value * scale; });
      }
    });
  });
  if (!done) ref_fma::kernels().convert(a);
}

void accumulate(const AccumulateArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    float* acc = static_cast<float*>(a.acc);
    for_vectors(a.n, [&](int64_t i, auto full, int64_t count) {
      store_part(acc + i, load_part(acc + i, full, count) + load_part(x + i, full, count), full, count);
    });
  });
  if (!done) ref_fma::kernels().accumulate(a);
}

void dropout(const DropoutArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    const F32 keep(1.0F - a.ratio);
    const U32 threshold(dropout_threshold(a.ratio));
    RandomRun run(a.key, a.step);
    for (int64_t begin = 0; begin < a.n;) {
      const RandomRun::Part part = run.words(static_cast<uint64_t>(a.first + begin), a.n - begin);
      for_vectors(part.count, [&](int64_t i, auto full, int64_t count) {
        const F32 kept = load_part(x + begin + i, full, count) / keep;
        const Mask dropped = less_unsigned(load16(run.word(part.offset + i)), threshold);
        store_part(y + begin + i, select(dropped, F32(0.0F), kept), full, count);
      });
      begin += part.count;
    }
  });
  if (!done) ref_fma::kernels().dropout(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
