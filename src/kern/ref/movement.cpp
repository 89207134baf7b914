#include "kern/lane/table.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

inline constexpr int kMaxRank = 8;

// The same copy with as few axes as possible: axes of length 1 dropped, neighbours joined where both sides
// are contiguous over them.
struct Plan {
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t source[kMaxRank] = {};
  int64_t target[kMaxRank] = {};
};
Plan simplified(const CopyArgs& a) {
  Plan p;
  for (int i = 0; i < a.rank; ++i) {
    if (a.shape[i] == 1) continue;
    const int last = p.rank - 1;
    if (p.rank > 0 && p.source[last] == a.source_strides[i] * a.shape[i] &&
        p.target[last] == a.target_strides[i] * a.shape[i]) {
      p.shape[last] *= a.shape[i];
      p.source[last] = a.source_strides[i];
      p.target[last] = a.target_strides[i];
    } else {
      p.shape[p.rank] = a.shape[i];
      p.source[p.rank] = a.source_strides[i];
      p.target[p.rank] = a.target_strides[i];
      ++p.rank;
    }
  }
  return p;
}

// One line: n elements with a stride on either side.
template <class E>
void copy_line(const E* source, int64_t source_stride, E* target, int64_t target_stride, int64_t n) {
  if (source_stride == 1 && target_stride == 1) {
    __builtin_memcpy(target, source, static_cast<size_t>(n) * sizeof(E));
  } else if (target_stride == 1) {
    for (int64_t i = 0; i < n; ++i) target[i] = source[i * source_stride];
  } else if (source_stride == 1) {
    for (int64_t i = 0; i < n; ++i) target[i * target_stride] = source[i];
  } else {
    for (int64_t i = 0; i < n; ++i) target[i * target_stride] = source[i * source_stride];
  }
}

// A plane whose sides are contiguous along different axes (a transposition) in square tiles, so that the
// lines of the cache that are read and written stay there.
inline constexpr int64_t kTile = 32;
template <class E>
void copy_plane(const E* source, int64_t source0, int64_t source1, E* target, int64_t target0,
                int64_t target1, int64_t n0, int64_t n1) {
  for (int64_t i0 = 0; i0 < n0; i0 += kTile)
    for (int64_t j0 = 0; j0 < n1; j0 += kTile) {
      const int64_t i1 = i0 + kTile < n0 ? i0 + kTile : n0;
      const int64_t j1 = j0 + kTile < n1 ? j0 + kTile : n1;
      for (int64_t i = i0; i < i1; ++i)
        copy_line(source + i * source0 + j0 * source1, source1, target + i * target0 + j0 * target1, target1,
                  j1 - j0);
    }
}

template <class E>
void copy_elements(const Plan& p, const E* source, E* target) {
  if (p.rank == 0) {
    *target = *source;
    return;
  }
  const int last = p.rank - 1;
  // The innermost plane is the last axis and, when that one isn't contiguous in the source, the axis that is.
  int partner = -1;
  if (p.source[last] != 1 || p.target[last] != 1)
    for (int i = 0; i < last; ++i)
      if (p.source[i] == 1 || p.target[i] == 1) partner = i;
  int64_t index[kMaxRank] = {};
  for (;;) {
    const E* s = source;
    E* t = target;
    for (int i = 0; i < last; ++i) {
      s += index[i] * p.source[i];
      t += index[i] * p.target[i];
    }
    if (partner >= 0) {
      copy_plane(s, p.source[partner], p.source[last], t, p.target[partner], p.target[last], p.shape[partner],
                 p.shape[last]);
    } else {
      copy_line(s, p.source[last], t, p.target[last], p.shape[last]);
    }
    int axis = last - 1;
    for (; axis >= 0; --axis) {
      if (axis == partner) continue;
      if (++index[axis] < p.shape[axis]) break;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

template <class E>
void fill_elements(void* y, int64_t n, E value) {
  E* out = static_cast<E*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}

}  // namespace

void copy(const CopyArgs& a) noexcept {
  for (int i = 0; i < a.rank; ++i)
    if (a.shape[i] == 0) return;
  const Plan plan = simplified(a);
  switch (a.element_bytes) {
    case 1:
      return copy_elements(plan, static_cast<const uint8_t*>(a.source), static_cast<uint8_t*>(a.target));
    case 2:
      return copy_elements(plan, static_cast<const uint16_t*>(a.source), static_cast<uint16_t*>(a.target));
    case 4:
      return copy_elements(plan, static_cast<const uint32_t*>(a.source), static_cast<uint32_t*>(a.target));
    default:
      return copy_elements(plan, static_cast<const uint64_t*>(a.source), static_cast<uint64_t*>(a.target));
  }
}

void fill(const FillArgs& a) noexcept {
  switch (a.dtype) {
    case DType::kF64:
      return fill_elements(a.y, a.n, a.value);
    case DType::kF32:
      return fill_elements(a.y, a.n, static_cast<float>(a.value));
    case DType::kF16:
      return fill_elements(a.y, a.n, num::to_fp16(static_cast<float>(a.value)).bits);
    case DType::kBf16:
      return fill_elements(a.y, a.n, num::to_bf16(static_cast<float>(a.value)).bits);
    case DType::kI64:
      return fill_elements(a.y, a.n, static_cast<int64_t>(a.value));
    case DType::kI32:
      return fill_elements(a.y, a.n, static_cast<int32_t>(a.value));
    case DType::kU8:
      return fill_elements(a.y, a.n, static_cast<uint8_t>(a.value));
  }
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
