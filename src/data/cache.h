// Decoded images kept in memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "data/dataset.h"

namespace halftone::data {

// How much of them is kept. Used by many threads at once.
class ImageCache {
 public:
  explicit ImageCache(int64_t room_bytes) : room_(room_bytes) {}
  int64_t kept() const { return kept_.load(std::memory_order_relaxed); }
  // What may still be kept.
  int64_t room() const { return room_.load(std::memory_order_relaxed); }
  // From now on no more than that many bytes, besides what is kept already. There is never more room than
  // there was.
  void limit_room(int64_t bytes);

  // False: there is no room for that many bytes.
  bool take(int64_t bytes);
  void give_back(int64_t bytes);

 private:
  std::atomic<int64_t> room_;
  std::atomic<int64_t> kept_{0};
};

// A set that keeps decoded images, or stands in front of one.
class KeepsImages {
 public:
  virtual ~KeepsImages() = default;
  virtual ImageCache* image_cache() const = 0;  // null: none are kept
};
// Null where a set keeps none.
ImageCache* image_cache(const Dataset& set);

// The samples of `base`, which are images; each one's pixels are kept from its first reading on until
// `budget_bytes` are used up; at_size: at the size that Transform scales it to (with this `resize`), where
// that is smaller. What a batch gets does not depend on it. The rest is decoded anew each time.
std::unique_ptr<Dataset> cached(std::unique_ptr<Dataset> base, int64_t budget_bytes, bool at_size,
                                int64_t resize);

}  // namespace halftone::data
