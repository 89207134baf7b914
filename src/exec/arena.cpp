#include "exec/arena.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/pages.h"

namespace halftone::exec {

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
  release();  // first: both together may be more than there is
  data_ = map_pages(static_cast<size_t>(bytes));
  if (data_ == nullptr)
    throw usage_error("no memory for the plan's {} bytes ({}); try a smaller --batch with --accumulate",
                      bytes, std::strerror(errno));
  bytes_ = bytes;
  largest_bytes_ = std::max(largest_bytes_, bytes_);
}

}  // namespace halftone::exec
