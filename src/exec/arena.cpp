#include "exec/arena.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/memory_limits.h"
#include "base/pages.h"
#include "base/resource_error.h"

namespace halftone::exec {

namespace {
constexpr int64_t kWorthAsking = int64_t{16} << 20;  // for less the answer takes longer than finding out
}

Arena::~Arena() {
  release();
}

void Arena::release() {
  if (data_ != nullptr) unmap_pages(data_, static_cast<size_t>(bytes_));
  data_ = nullptr;
  bytes_ = 0;
}

void Arena::reserve(int64_t bytes) {
  if (bytes <= bytes_) return;
  if (counts_) {
    largest_bytes_ = std::max(largest_bytes_, bytes);
    return;
  }
  if (before_growth_) {
    before_growth_(bytes - bytes_);
  } else if (bytes - bytes_ >= kWorthAsking) {
    require_memory({.bytes = bytes - bytes_}, "the plan of this network");
  }
  release();  // first: both together may be more than there is
  data_ = map_pages(static_cast<size_t>(bytes));
  if (data_ == nullptr)
    throw resource_error("no memory for the plan's {} bytes ({}); try a smaller --batch with --accumulate",
                         bytes, std::strerror(errno));
  bytes_ = bytes;
  largest_bytes_ = std::max(largest_bytes_, bytes_);
}

}  // namespace halftone::exec
