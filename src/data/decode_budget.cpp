#include "data/decode_budget.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/stop.h"

namespace halftone::data {
namespace {

constexpr std::chrono::milliseconds kLookInterval{50};

struct Budget {
  std::mutex mutex;
  std::condition_variable room;
  int64_t taken = 0;
};

Budget& budget() {
  static Budget all;
  return all;
}

}  // namespace

DecodeLease::DecodeLease(int64_t bytes) {
  if (bytes <= kUncountedBytes) return;
  Budget& b = budget();
  std::unique_lock lock(b.mutex);
  const auto fits = [&] { return b.taken == 0 || b.taken + bytes <= kDecodeBudgetBytes; };
  while (!b.room.wait_for(lock, kLookInterval, fits)) check_stop();
  b.taken += bytes;
  bytes_ = bytes;
}

DecodeLease::~DecodeLease() {
  if (bytes_ == 0) return;
  Budget& b = budget();
  {
    const std::lock_guard lock(b.mutex);
    b.taken -= bytes_;
  }
  b.room.notify_all();
}

}  // namespace halftone::data
