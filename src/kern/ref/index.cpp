// The table of kern/index.h, and its rows by indices.
#include "kern/index.h"

#include "kern/lane/formula.h"
#include "kern/lane/index.h"
#include "kern/lane/table.h"
#include "kern/ref/whole.h"

namespace halftone::kern::HALFTONE_KERN_NS {

const IndexKernels& index_kernels() {
  static const IndexKernels table = {
      .integer_binary = integer_binary,
      .integer_unary = integer_unary,
      .compare = compare,
      .select = select_elements,
      .classify = classify,
      .cast = cast,
      .resolve_rows = resolve_rows,
      .gather_rows = gather_rows,
      .last_slots = last_slots,
      .group_rows = group_rows,
      .scatter_rows = scatter_rows,
      .cum_sum = cum_sum,
      .arg_extreme = arg_extreme,
      .top_k = top_k,
      .integer_reduce = integer_reduce,
  };
  return table;
}

namespace {

template <class T>
int64_t resolve(const ResolveRowsArgs& a) {
  const T* indices = static_cast<const T*>(a.indices);
  int64_t bad = -1;
  for (int64_t s = a.first; s < a.first + a.count; ++s) {
    int64_t row = 0;
    int64_t rest = s;
    for (int axis = a.rank - 1; axis >= 0; --axis) {
      row += rest % a.shape[axis] * a.base[axis];
      rest /= a.shape[axis];
    }
    for (int64_t k = 0; k < a.depth; ++k) {
      int64_t index = static_cast<int64_t>(indices[s * a.depth + k]);
      if (index < 0) index += a.sizes[k];
      if (index < 0 || index >= a.sizes[k]) {
        if (bad < 0) bad = s * a.depth + k;
        index = 0;
      }
      row += index * a.strides[k];
    }
    a.rows[s] = static_cast<int32_t>(row);
  }
  return bad;
}

template <class E>
void gather_elements(const GatherRowsArgs& a) {
  const E* x = static_cast<const E*>(a.x);
  E* y = static_cast<E*>(a.y);
  for (int64_t s = a.first; s < a.first + a.count; ++s) y[s] = x[a.rows[s]];
}

template <class T>
int64_t scatter(const ScatterRowsArgs& a) {
  using W = Work<T>;
  // Columns whose sums are held at once.
  constexpr int64_t kBlock = 64;
  const T* base = static_cast<const T*>(a.base);
  const T* updates = static_cast<const T*>(a.updates);
  T* y = static_cast<T*>(a.y);
  int64_t bad = -1;
  for (int64_t r = a.row; r < a.row + a.rows; ++r) {
    const int32_t from = a.starts[r];
    const int32_t to = a.starts[r + 1];
    for (int64_t c0 = a.col; c0 < a.col + a.cols; c0 += kBlock) {
      const int64_t n = c0 + kBlock <= a.col + a.cols ? kBlock : a.col + a.cols - c0;
      T* out = y + r * a.run + c0;
      if (from == to || a.op == Scatter::kLast || a.op == Scatter::kClear) {
        // Bytes, not numbers: a NaN stays what it is.
        const T* source = from == to ? base : a.op == Scatter::kLast ? updates : nullptr;
        const int64_t source_row = from == to ? r : a.op == Scatter::kLast ? a.order[to - 1] : 0;
        if (source != nullptr)
          __builtin_memmove(out, source + source_row * a.run + c0, static_cast<size_t>(n) * sizeof(T));
        else
          __builtin_memset(out, 0, static_cast<size_t>(n) * sizeof(T));
        continue;
      }
      W sums[kBlock];
      for (int64_t c = 0; c < n; ++c) sums[c] = base != nullptr ? load(base + r * a.run + c0 + c) : W(0);
      for (int32_t i = from; i < to; ++i) {
        const T* u = updates + static_cast<int64_t>(a.order[i]) * a.run + c0;
        for (int64_t c = 0; c < n; ++c) {
          bool fits = true;
          switch (a.op) {
            case Scatter::kAdd:
              fits = add(sums[c], load(u + c), sums[c]);
              break;
            case Scatter::kMul:
              fits = multiply(sums[c], load(u + c), sums[c]);
              break;
            case Scatter::kMin:
              sums[c] = smaller_of(sums[c], load(u + c));
              break;
            default:
              sums[c] = larger_of(sums[c], load(u + c));
          }
          if (!fits && bad < 0) bad = r * a.run + c0 + c;
        }
      }
      for (int64_t c = 0; c < n; ++c) store(out + c, sums[c]);
    }
  }
  return bad;
}

}  // namespace

int64_t resolve_rows(const ResolveRowsArgs& a) noexcept {
  return a.dtype == DType::kI64 ? resolve<int64_t>(a) : resolve<int32_t>(a);
}

void gather_rows(const GatherRowsArgs& a) noexcept {
  if (a.last == nullptr) {
    switch (a.row_bytes) {
      case 1:
        return gather_elements<uint8_t>(a);
      case 2:
        return gather_elements<uint16_t>(a);
      case 4:
        return gather_elements<uint32_t>(a);
      case 8:
        return gather_elements<uint64_t>(a);
      default:
        break;
    }
  }
  const char* x = static_cast<const char*>(a.x);
  char* y = static_cast<char*>(a.y);
  const auto bytes = static_cast<size_t>(a.row_bytes);
  for (int64_t s = a.first; s < a.first + a.count; ++s) {
    if (a.last != nullptr && a.last[a.rows[s]] != s) {
      __builtin_memset(y + s * a.row_bytes, 0, bytes);
    } else {
      __builtin_memcpy(y + s * a.row_bytes, x + a.rows[s] * a.row_bytes, bytes);
    }
  }
}

void last_slots(const LastSlotsArgs& a) noexcept {
  for (int64_t s = 0; s < a.count; ++s) a.last[a.rows[s]] = static_cast<int32_t>(s);
}

void group_rows(const GroupRowsArgs& a) noexcept {
  for (int64_t r = 0; r <= a.table_rows; ++r) a.starts[r] = 0;
  for (int64_t s = 0; s < a.count; ++s) ++a.starts[a.rows[s]];
  // Each row's end, from which the slots fill it backwards, so that they end up ascending.
  int32_t sum = 0;
  for (int64_t r = 0; r < a.table_rows; ++r) a.starts[r] = sum += a.starts[r];
  a.starts[a.table_rows] = sum;
  for (int64_t s = a.count; s-- > 0;) a.order[--a.starts[a.rows[s]]] = static_cast<int32_t>(s);
}

int64_t scatter_rows(const ScatterRowsArgs& a) noexcept {
  int64_t bad = -1;
  choose_any(a.dtype, [&](auto type) { bad = scatter<typename decltype(type)::type>(a); });
  return bad;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
