// Rows by indices move bytes, and whole numbers are few beside floats: the compiler's vector code of the
// reference does. Sums of rows, the gradient of tables, have a version of their own.
#include "kern/index.h"

#include "kern/lane/table.h"
#include "kern/simd/loops.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// kVectors * 16 columns of one row.
template <int kVectors, bool kFull, class T>
HALFTONE_INLINE void add_rows(const ScatterRowsArgs& a, int64_t r, int64_t c, Constant<kFull> full,
                              int64_t count) {
  const T* base = static_cast<const T*>(a.base);
  const T* updates = static_cast<const T*>(a.updates);
  F32 sums[kVectors];
  for (int v = 0; v < kVectors; ++v)
    sums[v] = base != nullptr ? load_part(base + r * a.run + c + v * kLanes, full, count) : F32(0.0F);
  for (int32_t i = a.starts[r]; i < a.starts[r + 1]; ++i) {
    const T* u = updates + static_cast<int64_t>(a.order[i]) * a.run + c;
    for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + load_part(u + v * kLanes, full, count);
  }
  T* y = static_cast<T*>(a.y) + r * a.run + c;
  for (int v = 0; v < kVectors; ++v) store_part(y + v * kLanes, sums[v], full, count);
}

int64_t scatter_add(const ScatterRowsArgs& a) noexcept {
  const bool done = a.op == Scatter::kAdd && a.cols >= kLanes && choose_storage(a.dtype, [&](auto type) {
                      using T = typename decltype(type)::type;
                      for (int64_t r = a.row; r < a.row + a.rows; ++r) {
                        T* y = static_cast<T*>(a.y) + r * a.run + a.col;
                        if (a.starts[r] == a.starts[r + 1]) {  // nothing is added: bytes
                          const auto bytes = static_cast<size_t>(a.cols) * sizeof(T);
                          if (a.base != nullptr)
                            __builtin_memmove(y, static_cast<const T*>(a.base) + r * a.run + a.col, bytes);
                          else
                            __builtin_memset(y, 0, bytes);
                          continue;
                        }
                        const int64_t end = a.col + a.cols;
                        int64_t c = a.col;
                        for (; c + 4 * kLanes <= end; c += 4 * kLanes)
                          add_rows<4, true, T>(a, r, c, Constant<true>{}, kLanes);
                        for (; c + kLanes <= end; c += kLanes)
                          add_rows<1, true, T>(a, r, c, Constant<true>{}, kLanes);
                        if (c < end) add_rows<1, false, T>(a, r, c, Constant<false>{}, end - c);
                      }
                    });
  return done ? -1 : ref_fma::kernels().index->scatter_rows(a);
}

IndexKernels with_own_sums() {
  IndexKernels table = *ref_fma::kernels().index;
  table.scatter_rows = scatter_add;
  return table;
}

}  // namespace

const IndexKernels& index_kernels() {
  static const IndexKernels table = with_own_sums();
  return table;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
