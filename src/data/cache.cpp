#include "data/cache.h"

#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/resample.h"
#include "data/transform.h"

namespace halftone::data {
namespace {

// A sample's pixels, channels last and dense, behind their sizes and label. Written once, then published
// through an atomic pointer.
struct Entry {
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;
  int32_t label = -1;
  std::vector<float> target;
  std::vector<int32_t> labels;  // of positions
  std::vector<uint8_t> pixels;
};

class Cached final : public Dataset, public KeepsImages {
 public:
  Cached(std::unique_ptr<Dataset> base, int64_t budget_bytes, bool at_size, int64_t resize)
      : base_(std::move(base)),
        at_size_(at_size),
        resize_(resize),
        cache_(budget_bytes),
        entries_(static_cast<size_t>(base_->size())) {
    info_ = base_->info();
    HT_ASSERT(info_.image);
  }
  ~Cached() override {
    for (std::atomic<Entry*>& e : entries_) delete e.load();
  }
  Cached(const Cached&) = delete;
  Cached& operator=(const Cached&) = delete;

  int64_t size() const override { return base_->size(); }
  std::string name(int64_t index) const override { return base_->name(index); }
  int64_t position(int64_t index) const override { return base_->position(index); }
  size_t size_class(int64_t index) const override { return base_->size_class(index); }
  std::optional<int32_t> class_of(int64_t index) const override { return base_->class_of(index); }
  ImageCache* image_cache() const override { return &cache_; }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    std::atomic<Entry*>& place = entries_[static_cast<size_t>(index)];
    if (const Entry* entry = place.load(std::memory_order_acquire)) return give(*entry, sample);
    base_->read(index, sample);
    std::unique_ptr<Entry> entry = keep(sample);
    if (!entry) return;
    Entry* expected = nullptr;
    // Two threads may read the same sample; the second throws its copy away.
    if (place.compare_exchange_strong(expected, entry.get(), std::memory_order_acq_rel)) {
      sample.release_large();
      give(*entry.release(), sample);
    } else {
      cache_.give_back(cost(*entry));
    }
  }

 private:
  static int64_t cost(const Entry& entry) {
    return static_cast<int64_t>(entry.pixels.size() + entry.labels.size() * sizeof(int32_t) + sizeof(Entry));
  }

  static void give(const Entry& entry, Sample& sample) {
    sample.pixels = {entry.pixels.data(),          entry.channels, entry.height, entry.width, 1,
                     entry.width * entry.channels, entry.channels};
    sample.label = entry.label;
    sample.target = entry.target;
    sample.labels = entry.labels;
  }

  // The size at which a picture is kept: the same that Transform would make of it each time, where that is
  // smaller.
  ScaledSize kept_size(int64_t height, int64_t width) const {
    const ScaledSize size = scaled_size(info_.geometry, resize_, height, width);
    return at_size_ && size.height * size.width < height * width ? size : ScaledSize{height, width};
  }
  // Null when there is no more room.
  std::unique_ptr<Entry> keep(const Sample& sample) const {
    Resampler resampler;
    Sample::Pixels p = sample.pixels;
    const ScaledSize size = kept_size(p.height, p.width);
    const auto labels = static_cast<int64_t>(sample.labels.size() * sizeof(int32_t));
    if (!cache_.take(p.channels * size.height * size.width + labels + static_cast<int64_t>(sizeof(Entry))))
      return nullptr;
    if (size.height != p.height || size.width != p.width)
      p = resampler.resize(p, {0, 0, p.height, p.width}, size.height, size.width);
    auto entry = std::make_unique<Entry>();
    entry->channels = p.channels;
    entry->height = p.height;
    entry->width = p.width;
    entry->label = sample.label;
    entry->target = sample.target;
    entry->labels = sample.labels;
    entry->pixels.resize(static_cast<size_t>(p.channels * p.height * p.width));
    uint8_t* to = entry->pixels.data();
    const bool dense =
        p.channel_stride == 1 && p.column_stride == p.channels && p.row_stride == p.width * p.channels;
    if (dense) {
      std::memcpy(to, p.data, entry->pixels.size());
      return entry;
    }
    for (int64_t y = 0; y < p.height; ++y)
      for (int64_t x = 0; x < p.width; ++x)
        for (int64_t c = 0; c < p.channels; ++c)
          *to++ = p.data[y * p.row_stride + x * p.column_stride + c * p.channel_stride];
    return entry;
  }

  std::unique_ptr<Dataset> base_;
  bool at_size_;
  int64_t resize_;
  mutable ImageCache cache_;
  mutable std::vector<std::atomic<Entry*>> entries_;
};

}  // namespace

void ImageCache::limit_room(int64_t bytes) {
  int64_t room = room_.load(std::memory_order_relaxed);
  while (room > bytes && !room_.compare_exchange_weak(room, bytes, std::memory_order_relaxed)) {
  }
}

bool ImageCache::take(int64_t bytes) {
  int64_t room = room_.load(std::memory_order_relaxed);
  do {
    if (room < bytes) return false;
  } while (!room_.compare_exchange_weak(room, room - bytes, std::memory_order_relaxed));
  kept_.fetch_add(bytes, std::memory_order_relaxed);
  return true;
}

void ImageCache::give_back(int64_t bytes) {
  room_.fetch_add(bytes, std::memory_order_relaxed);
  kept_.fetch_sub(bytes, std::memory_order_relaxed);
}

ImageCache* image_cache(const Dataset& set) {
  const auto* const keeps = dynamic_cast<const KeepsImages*>(&set);
  return keeps == nullptr ? nullptr : keeps->image_cache();
}

std::unique_ptr<Dataset> cached(std::unique_ptr<Dataset> base, int64_t budget_bytes, bool at_size,
                                int64_t resize) {
  return std::make_unique<Cached>(std::move(base), budget_bytes, at_size, resize);
}

}  // namespace halftone::data
