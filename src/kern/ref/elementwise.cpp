#include "kern/lane/formula.h"
#include "kern/lane/random.h"
#include "kern/lane/table.h"
#include "kern/pointwise.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {

void unary(const UnaryArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    choose(a.op, [&](auto op) {
      const T* x = static_cast<const T*>(a.x);
      T* y = static_cast<T*>(a.y);
      for (int64_t i = 0; i < a.n; ++i)
        store(y + i, unary_value<op.value>(load(x + i), R(a.alpha), R(a.beta)));
    });
  });
}

void unary_grad(const UnaryGradArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    choose(a.op, [&](auto op) {
      const T* s = static_cast<const T*>(gradient_reads_y(a.op) ? a.y : a.x);
      const T* dy = static_cast<const T*>(a.dy);
      T* dx = static_cast<T*>(a.dx);
      for (int64_t i = 0; i < a.n; ++i)
        store(dx + i, unary_gradient<op.value>(load(s + i), load(dy + i), R(a.alpha), R(a.beta)));
    });
  });
}

void binary(const BinaryArgs& args) noexcept {
  with_storage(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    choose(args.op, [&](auto op) {
      for (int64_t r = 0; r < args.rows; ++r) {
        const T* a = static_cast<const T*>(args.a) + r * args.a_row;
        const T* b = static_cast<const T*>(args.b) + r * args.b_row;
        T* y = static_cast<T*>(args.y) + r * args.cols;
        for (int64_t c = 0; c < args.cols; ++c)
          store(y + c, binary_value<op.value>(load(a + c * args.a_col), load(b + c * args.b_col)));
      }
    });
  });
}

namespace {

// Conversions that touch double go through double, with fp32 between double and 16 bits, as num::narrow does.
// Whether to scale is a template argument: x * 1 is not x for a subnormal under DAZ, but compilers think so
// and would multiply always.
template <bool scales, class From, class To>
void convert_elements(const From* x, To* y, int64_t n, double scale) {
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (sizeof(From) == 8 || sizeof(To) == 8) {
      double value = load(x + i);
      if constexpr (scales) value = value * scale;
      store(y + i, static_cast<Register<To>>(value));
    } else {
      float value = load(x + i);
      if constexpr (scales) value = value * static_cast<float>(scale);
      store(y + i, value);
    }
  }
}

}  // namespace

void convert(const ConvertArgs& a) noexcept {
  with_storage(a.from, [&](auto from) {
    with_storage(a.to, [&](auto to) {
      choose(a.scale != 1.0, [&](auto scales) {
        convert_elements<scales.value>(static_cast<const typename decltype(from)::type*>(a.x),
                                       static_cast<typename decltype(to)::type*>(a.y), a.n, a.scale);
      });
    });
  });
}

void accumulate(const AccumulateArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    Register<T>* acc = static_cast<Register<T>*>(a.acc);
    for (int64_t i = 0; i < a.n; ++i) acc[i] = acc[i] + load(x + i);
  });
}

void dropout(const DropoutArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    const R keep = R(1) - R(a.ratio);
    const uint32_t threshold = dropout_threshold(a.ratio);
    for (int64_t i = 0; i < a.n; ++i) {
      const uint32_t random = random32_of(a.key, static_cast<uint64_t>(a.first + i), a.step);
      store(y + i, select(random >= threshold, load(x + i) / keep, R(0)));
    }
  });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
