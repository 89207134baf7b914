// Copies and fills move bytes: the compiler's vector code of the reference does, but for copies past the
// caches.
#include "kern/lane/table.h"
#include "kern/simd/loops.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// Rows of whole cache lines; false where the copy isn't that.
bool copy_past_caches(const CopyArgs& a) {
  constexpr int64_t kLine = 64;
  if (a.rank < 1 || a.rank > 2) return false;
  const int last = a.rank - 1;
  const int64_t row = a.shape[last] * a.element_bytes;
  const int64_t rows = last == 0 ? 1 : a.shape[0];
  const int64_t source_step = last == 0 ? row : a.source_strides[0] * a.element_bytes;
  const int64_t target_step = last == 0 ? row : a.target_strides[0] * a.element_bytes;
  const auto address = reinterpret_cast<uintptr_t>(a.target);
  if (a.source_strides[last] != 1 || a.target_strides[last] != 1 || row % kLine != 0 ||
      target_step % kLine != 0 || address % kLine != 0)
    return false;
  const auto* source = static_cast<const char*>(a.source);
  auto* target = static_cast<char*>(a.target);
  // Ahead by whole rows.
  const int64_t ahead = row == 0 ? 0 : (kPrefetchBytes + row - 1) / row * source_step;
  for (int64_t r = 0; r < rows; ++r, source += source_step, target += target_step)
    for (int64_t i = 0; i < row; i += kLine) {
      prefetch(source + i, ahead);
      copy_line_past(target + i, source + i);
    }
  write_past_end();
  return true;
}

}  // namespace

void copy(const CopyArgs& a) noexcept {
  if (a.past_caches && copy_past_caches(a)) return;
  ref_fma::kernels().copy(a);
}
void fill(const FillArgs& a) noexcept {
  ref_fma::kernels().fill(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
