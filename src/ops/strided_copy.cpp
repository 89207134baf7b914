#include "ops/strided_copy.h"

#include "base/error.h"
#include "ops/chunks.h"

namespace halftone::ops {
namespace {
constexpr size_t kMaxRank = 8;  // kern::CopyArgs
}

StridedCopy::StridedCopy(const kern::Kernels& kernels, DType dtype, const Shape& shape,
                         const Shape& source_strides, const Shape& target_strides, int64_t source_offset,
                         int64_t target_offset, int64_t tensor_bytes)
    : copy_(kernels.copy),
      width_(size_bytes(dtype)),
      source_offset_(source_offset),
      target_offset_(target_offset),
      past_caches_(std::max(tensor_bytes, elements(shape) * width_) >= kPastCaches) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const int64_t source = source_strides[i];
    const int64_t target = target_strides[i];
    if (!shape_.empty() && source_strides_.back() == source * shape[i] &&
        target_strides_.back() == target * shape[i]) {
      shape_.back() *= shape[i];
      source_strides_.back() = source;
      target_strides_.back() = target;
    } else {
      shape_.push_back(shape[i]);
      source_strides_.push_back(source);
      target_strides_.push_back(target);
    }
  }
  if (shape_.empty()) {
    shape_ = {1};
    source_strides_ = target_strides_ = {1};
  }
  if (shape_.size() > kMaxRank)
    throw input_error("moving the elements of {} takes {} dimensions, at most {} are supported",
                      to_string(shape), shape_.size(), kMaxRank);
  if (elements(shape_) == 0) {
    chunks_ = 0;
    return;
  }
  // Cut the first axis whose inner part fits a chunk.
  int64_t inner = elements(shape_);
  do {
    inner /= shape_[split_];
    if (inner <= kChunkElements || split_ + 1 == shape_.size()) break;
    ++split_;
  } while (true);
  per_chunk_ = std::max<int64_t>(1, kChunkElements / inner);
  blocks_ = ceil_div(shape_[split_], per_chunk_);
  for (size_t i = 0; i < split_; ++i) chunks_ *= shape_[i];
  chunks_ *= blocks_;
}

void StridedCopy::run(par::Pool& pool, const void* source, void* target) const {
  run_chunks(pool, chunks_, [&](int64_t chunk, int) {
    const int64_t first = chunk % blocks_ * per_chunk_;
    int64_t from = source_offset_ + first * source_strides_[split_];
    int64_t to = target_offset_ + first * target_strides_[split_];
    int64_t rest = chunk / blocks_;
    for (size_t i = split_; i-- > 0;) {
      const int64_t index = rest % shape_[i];
      rest /= shape_[i];
      from += index * source_strides_[i];
      to += index * target_strides_[i];
    }
    int64_t part[kMaxRank];
    std::copy(shape_.begin() + static_cast<std::ptrdiff_t>(split_), shape_.end(), part);
    part[0] = std::min(per_chunk_, shape_[split_] - first);
    copy_({width_, at(source, from * width_), at(target, to * width_),
           static_cast<int>(shape_.size() - split_), part, source_strides_.data() + split_,
           target_strides_.data() + split_, past_caches_});
  });
}

void ChunkedFill::run(par::Pool& pool, void* y) const {
  for_chunks(pool, element_chunks(n), [&](int64_t first, int64_t count) {
    fill({dtype, at(y, first * size_bytes(dtype)), count, value});
  });
}

}  // namespace halftone::ops
