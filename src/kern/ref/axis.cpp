// Running sums, extremes and the largest few along an axis, and sums of whole numbers.
#include "kern/index.h"
#include "kern/lane/index.h"
#include "kern/ref/whole.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// Columns that are gone through together, so that lines of the cache are read once.
inline constexpr int64_t kColumns = 16;
template <class F>
HALFTONE_INLINE void column_blocks(int64_t cols, F&& f) {
  for (int64_t c = 0; c < cols; c += kColumns) f(c, c + kColumns <= cols ? kColumns : cols - c);
}

template <class W>
HALFTONE_INLINE bool is_nan(W x) {
  return x != x;
}

// Whether element i comes before element j among the k largest (smallest).
template <class T>
HALFTONE_INLINE bool comes_before(const T* x, int64_t stride, int64_t i, int64_t j, bool largest) {
  const auto a = load(x + i * stride);
  const auto b = load(x + j * stride);
  if (is_nan(a) || is_nan(b)) {
    if (is_nan(a) && is_nan(b)) return i < j;
    return is_nan(a) == largest;
  }
  if (a == b) return i < j;
  return largest ? a > b : a < b;
}

// A heap whose root is the last of those kept.
template <class T>
HALFTONE_INLINE void sift_down(const T* x, int64_t stride, bool largest, int64_t* heap, int64_t size,
                               int64_t at) {
  for (;;) {
    int64_t last = at;
    for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < size; ++child)
      if (comes_before(x, stride, heap[last], heap[child], largest)) last = child;
    if (last == at) return;
    const int64_t moved = heap[at];
    heap[at] = heap[last];
    heap[last] = moved;
    at = last;
  }
}

}  // namespace

int64_t cum_sum(const CumSumArgs& a) noexcept {
  int64_t bad = -1;
  choose_any(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    column_blocks(a.cols, [&](int64_t first, int64_t count) {
      Work<T> sums[kColumns] = {};
      for (int64_t step = 0; step < a.length; ++step) {
        const int64_t i = a.reverse ? a.length - 1 - step : step;
        for (int64_t c = 0; c < count; ++c) {
          const int64_t at = i * a.stride + first + c;
          const Work<T> value = load(static_cast<const T*>(a.x) + at);  // y may be x
          if (a.exclusive) store(static_cast<T*>(a.y) + at, sums[c]);
          if (!add(sums[c], value, sums[c]) && bad < 0) bad = at;
          if (!a.exclusive) store(static_cast<T*>(a.y) + at, sums[c]);
        }
      }
    });
  });
  return bad;
}

void arg_extreme(const ArgExtremeArgs& a) noexcept {
  choose_any(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    column_blocks(a.cols, [&](int64_t first, int64_t count) {
      Work<T> best[kColumns] = {};
      for (int64_t i = 0; i < a.length; ++i)
        for (int64_t c = 0; c < count; ++c) {
          const Work<T> value = load(x + i * a.stride + first + c);
          const bool same = value == best[c] || (is_nan(value) && is_nan(best[c]));
          const bool better =
              (is_nan(value) && !is_nan(best[c])) || (a.largest ? value > best[c] : value < best[c]);
          if (i > 0 && !better && !(same && a.last)) continue;
          best[c] = value;
          a.y[first + c] = i;
        }
    });
  });
}

void top_k(const TopKArgs& a) noexcept {
  choose_any(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t c = 0; c < a.cols; ++c) {
      const T* x = static_cast<const T*>(a.x) + c;
      for (int64_t i = 0; i < a.k; ++i) a.heap[i] = i;
      for (int64_t i = a.k / 2; i-- > 0;) sift_down(x, a.stride, a.largest, a.heap, a.k, i);
      for (int64_t i = a.k; i < a.length && a.k > 0; ++i) {
        if (!comes_before(x, a.stride, i, a.heap[0], a.largest)) continue;
        a.heap[0] = i;
        sift_down(x, a.stride, a.largest, a.heap, a.k, 0);
      }
      for (int64_t size = a.k; size > 0; --size) {  // the last goes to the end
        a.y[(size - 1) * a.stride + c] = a.heap[0];
        a.heap[0] = a.heap[size - 1];
        sift_down(x, a.stride, a.largest, a.heap, size - 1, 0);
      }
    }
  });
}

int64_t integer_reduce(const IntegerReduceArgs& a) noexcept {
  int64_t bad = -1;
  choose_integer(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    for (int64_t i = 0; i < a.length; ++i)
      for (int64_t c = 0; c < a.cols; ++c) {
        const T value = x[i * a.stride + c];
        if (i == 0) {
          y[c] = value;
          continue;
        }
        bool fits = true;
        switch (a.op) {
          case IntegerReduce::kSum:
            fits = add(y[c], value, y[c]);
            break;
          case IntegerReduce::kProd:
            fits = multiply(y[c], value, y[c]);
            break;
          case IntegerReduce::kMin:
            y[c] = smaller_of(y[c], value);
            break;
          case IntegerReduce::kMax:
            y[c] = larger_of(y[c], value);
            break;
        }
        if (!fits && bad < 0) bad = c;
      }
  });
  return bad;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
