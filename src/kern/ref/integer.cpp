// Integers and booleans, element by element.
#include "kern/index.h"
#include "kern/lane/index.h"
#include "kern/ref/whole.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

template <class T>
inline constexpr T kLeast = 0;
template <>
inline constexpr int64_t kLeast<int64_t> = -0x7FFFFFFFFFFFFFFF - 1;
template <>
inline constexpr int32_t kLeast<int32_t> = -0x7FFFFFFF - 1;

template <class T>
bool power(T base, T exponent, T& y) {
  y = 1;
  if (exponent < T(0)) return false;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(y, base, &y)) return false;
    exponent = static_cast<T>(exponent >> 1);
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return false;
  }
  return true;
}

// Whether there is a result.
template <IntegerBinary op, class T>
HALFTONE_INLINE bool binary_result(T a, T b, T& y) {
  y = 0;
  if constexpr (op == IntegerBinary::kAdd) return !__builtin_add_overflow(a, b, &y);
  if constexpr (op == IntegerBinary::kSub) return !__builtin_sub_overflow(a, b, &y);
  if constexpr (op == IntegerBinary::kMul) return !__builtin_mul_overflow(a, b, &y);
  if constexpr (op == IntegerBinary::kPow) return power(a, b, y);
  if constexpr (op == IntegerBinary::kDiv || op == IntegerBinary::kMod || op == IntegerBinary::kFmod) {
    if (b == 0) return false;
    const bool negates =
        T(-1) < T(0) && b == static_cast<T>(-1);  // a / -1 may leave the range, its remainder is 0
    if (op == IntegerBinary::kDiv) {
      if (negates) return !__builtin_sub_overflow(T(0), a, &y);
      y = static_cast<T>(a / b);
      return true;
    }
    if (negates) return true;
    y = static_cast<T>(a % b);
    if (op == IntegerBinary::kMod && y != 0 && (y < 0) != (b < 0)) y = static_cast<T>(y + b);
    return true;
  }
  if constexpr (op == IntegerBinary::kMin) y = b < a ? b : a;
  if constexpr (op == IntegerBinary::kMax) y = b > a ? b : a;
  if constexpr (op == IntegerBinary::kAnd) y = a != 0 && b != 0;
  if constexpr (op == IntegerBinary::kOr) y = a != 0 || b != 0;
  if constexpr (op == IntegerBinary::kXor) y = (a != 0) != (b != 0);
  return true;
}

template <IntegerBinary op, class T>
int64_t binary_rows(const IntegerBinaryArgs& args) {
  int64_t bad = -1;
  for (int64_t r = 0; r < args.rows; ++r) {
    const T* a = static_cast<const T*>(args.a) + r * args.a_row;
    const T* b = static_cast<const T*>(args.b) + r * args.b_row;
    T* y = static_cast<T*>(args.y) + r * args.cols;
    for (int64_t c = 0; c < args.cols; ++c)
      if (!binary_result<op>(a[c * args.a_col], b[c * args.b_col], y[c]) && bad < 0) bad = r * args.cols + c;
  }
  return bad;
}

template <class F>
HALFTONE_INLINE void choose_binary(IntegerBinary op, F&& f) {
  switch (op) {
    case IntegerBinary::kAdd:
      return f(Constant<IntegerBinary::kAdd>{});
    case IntegerBinary::kSub:
      return f(Constant<IntegerBinary::kSub>{});
    case IntegerBinary::kMul:
      return f(Constant<IntegerBinary::kMul>{});
    case IntegerBinary::kDiv:
      return f(Constant<IntegerBinary::kDiv>{});
    case IntegerBinary::kMod:
      return f(Constant<IntegerBinary::kMod>{});
    case IntegerBinary::kFmod:
      return f(Constant<IntegerBinary::kFmod>{});
    case IntegerBinary::kPow:
      return f(Constant<IntegerBinary::kPow>{});
    case IntegerBinary::kMin:
      return f(Constant<IntegerBinary::kMin>{});
    case IntegerBinary::kMax:
      return f(Constant<IntegerBinary::kMax>{});
    case IntegerBinary::kAnd:
      return f(Constant<IntegerBinary::kAnd>{});
    case IntegerBinary::kOr:
      return f(Constant<IntegerBinary::kOr>{});
    case IntegerBinary::kXor:
      return f(Constant<IntegerBinary::kXor>{});
  }
}

template <class E>
void select_rows(const SelectArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const uint8_t* condition = args.condition + r * args.condition_row;
    const E* a = static_cast<const E*>(args.a) + r * args.a_row;
    const E* b = static_cast<const E*>(args.b) + r * args.b_row;
    E* y = static_cast<E*>(args.y) + r * args.cols;
    for (int64_t c = 0; c < args.cols; ++c)
      y[c] = condition[c * args.condition_col] != 0 ? a[c * args.a_col] : b[c * args.b_col];
  }
}

template <class From, class To>
int64_t cast_elements(const From* x, To* y, int64_t n) {
  int64_t bad = -1;
  for (int64_t i = 0; i < n; ++i) {
    const auto value = load(x + i);
    if constexpr (kIsFloat<Work<To>>) {
      store(y + i, static_cast<Work<To>>(value));
    } else if constexpr (kIsFloat<Work<From>>) {
      // Powers of two, which both register types have exactly.
      constexpr double kEnd = sizeof(To) == 8 ? 0x1p63 : sizeof(To) == 4 ? 0x1p31 : 256.0;
      const double wide = static_cast<double>(value);
      const double whole = __builtin_trunc(wide);
      if (sizeof(To) > 1 && whole < static_cast<double>(kLeast<To>)) {
        y[i] = kLeast<To>;
      } else if (whole < kEnd && (sizeof(To) > 1 || whole >= 0)) {
        y[i] = static_cast<To>(whole);
      } else {
        y[i] = 0;
        if (bad < 0) bad = i;
      }
    } else {
      y[i] = static_cast<To>(value);
      // Negative numbers and uint8: -1 comes back as 255.
      if (static_cast<int64_t>(y[i]) != static_cast<int64_t>(value)) {
        y[i] = 0;
        if (bad < 0) bad = i;
      }
    }
  }
  return bad;
}

}  // namespace

int64_t integer_binary(const IntegerBinaryArgs& a) noexcept {
  int64_t bad = -1;
  choose_integer(a.dtype, [&](auto type) {
    choose_binary(a.op, [&](auto op) { bad = binary_rows<op.value, typename decltype(type)::type>(a); });
  });
  return bad;
}

int64_t integer_unary(const IntegerUnaryArgs& a) noexcept {
  int64_t bad = -1;
  choose_integer(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    for (int64_t i = 0; i < a.n; ++i) {
      const T value = x[i];
      T result = 0;
      bool fits = true;
      switch (a.op) {
        case IntegerUnary::kNeg:
          fits = !__builtin_sub_overflow(T(0), value, &result);
          break;
        case IntegerUnary::kAbs:
          if (value < 0) {
            fits = !__builtin_sub_overflow(T(0), value, &result);
          } else {
            result = value;
          }
          break;
        case IntegerUnary::kSign:
          result = static_cast<T>((value > 0) - (value < 0));
          break;
        case IntegerUnary::kNot:
          result = value == 0;
          break;
      }
      if (!fits && bad < 0) bad = i;
      y[i] = fits ? result : T(0);
    }
  });
  return bad;
}

void compare(const CompareArgs& args) noexcept {
  choose_any(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto rows = [&](auto holds) {
      for (int64_t r = 0; r < args.rows; ++r) {
        const T* a = static_cast<const T*>(args.a) + r * args.a_row;
        const T* b = static_cast<const T*>(args.b) + r * args.b_row;
        uint8_t* y = args.y + r * args.cols;
        for (int64_t c = 0; c < args.cols; ++c)
          y[c] = holds(load(a + c * args.a_col), load(b + c * args.b_col)) ? 1 : 0;
      }
    };
    using W = Work<T>;
    switch (args.op) {
      case Compare::kEqual:
        return rows([](W a, W b) { return a == b; });
      case Compare::kLess:
        return rows([](W a, W b) { return a < b; });
      case Compare::kLessOrEqual:
        return rows([](W a, W b) { return a <= b; });
    }
  });
}

void select_elements(const SelectArgs& a) noexcept {
  switch (a.element_bytes) {
    case 1:
      return select_rows<uint8_t>(a);
    case 2:
      return select_rows<uint16_t>(a);
    case 4:
      return select_rows<uint32_t>(a);
    default:
      return select_rows<uint64_t>(a);
  }
}

void classify(const ClassifyArgs& a) noexcept {
  with_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using R = Register<T>;
    const T* x = static_cast<const T*>(a.x);
    for (int64_t i = 0; i < a.n; ++i) {
      const R value = load(x + i);
      a.y[i] = ((a.nan && value != value) || (a.plus_infinity && value == R(kInfinity)) ||
                (a.minus_infinity && value == R(-kInfinity)))
                   ? 1
                   : 0;
    }
  });
}

int64_t cast(const CastArgs& a) noexcept {
  int64_t bad = -1;
  choose_any(a.from, [&](auto from) {
    using From = typename decltype(from)::type;
    const From* x = static_cast<const From*>(a.x);
    if (a.to_boolean) {
      for (int64_t i = 0; i < a.n; ++i) static_cast<uint8_t*>(a.y)[i] = load(x + i) != Work<From>(0) ? 1 : 0;
      return;
    }
    choose_any(a.to, [&](auto to) {
      using To = typename decltype(to)::type;
      bad = cast_elements(x, static_cast<To*>(a.y), a.n);
    });
  });
  return bad;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
