#include "par/pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "par/start_threads.h"
#include "par/waiting.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace halftone::par {
namespace {

#if defined(__x86_64__)
constexpr unsigned kFlushToZero = 0x8000U;
constexpr unsigned kDenormalsAreZero = 0x0040U;
#endif

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;

// A thread that does not come in time is not waited for: the caller does the chunks itself, and waits only
// for threads that are in the middle of one.
//
// How a thread waits. First it looks: about a microsecond, the time between two loops of a step. Then it
// yields between looks: a system call of less than half a microsecond on a quiet machine, and on a busy one
// whoever else wants the processor gets it. After kAwake it sleeps.
constexpr int kLooks = 32;
constexpr Nanoseconds kAwake = Nanoseconds(kAwakeNs);

// Returns whether `ready` became true while awake.
template <class Ready>
bool wait_awake(const Ready& ready) {
  for (int look = 0; look < kLooks; ++look) {
    if (ready()) return true;
    pause();
  }
  for (const Clock::time_point end = Clock::now() + kAwake; Clock::now() < end;) {
    if (ready()) return true;
    std::this_thread::yield();
  }
  return ready();
}

// The gate: whether a loop is open to threads, which loop (its number, modulo 2^21), and how many threads are
// inside. A thread that slept through exactly 2^21 loops misses one; nobody waits for it.
constexpr uint32_t kOpen = 1U << 10;
constexpr uint32_t kInside = kOpen - 1;
constexpr uint32_t kLoop = kOpen << 1;
constexpr uint32_t loop_of(uint32_t gate) {
  return gate / kLoop;
}

// A wait is expected to be as long as a chunk, and some chunks are longer than others. What goes beyond four
// of them, and beyond the cost of a thread's waking, is lost: the machine had the thread do something else.
constexpr int kChunksExpected = 4;
// So that waiting costs a small part of the time at most, the caller works alone for this many times what it
// lost; twice as long when it loses again soon after.
constexpr int kLeastAlone = 8;
constexpr int kMostAlone = 128;

}  // namespace

ScopedFlushToZero::ScopedFlushToZero() : saved_(0) {
#if defined(__x86_64__)
  saved_ = _mm_getcsr();
  _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
#endif
}
ScopedFlushToZero::~ScopedFlushToZero() {
#if defined(__x86_64__)
  _mm_setcsr(saved_);
#endif
}

struct Pool::State {
  std::vector<std::thread> threads;
  // The loop. Written by the caller while the gate is closed and nobody is inside.
  const std::function<void(int64_t, int)>* body = nullptr;
  int64_t chunks = 0;
  std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint32_t> gate{0};
  alignas(64) std::atomic<uint32_t> bell{0};  // changes with each loop; threads sleep on it
  std::atomic<bool> stop{false};
  // The caller's.
  Clock::time_point alone_until{};
  Clock::time_point trusted_from{};  // it has lost nothing for long
  int alone = kLeastAlone;

  // All threads come to their end.
  void end() {
    stop.store(true);
    bell.fetch_add(1);
    bell.notify_all();
  }

  // Returns how many chunks it did.
  int64_t work(int worker) {
    int64_t done = 0;
    for (int64_t chunk = next.fetch_add(1); chunk < chunks; chunk = next.fetch_add(1), ++done)
      (*body)(chunk, worker);
    return done;
  }

  bool waiting(uint32_t seen) const {
    const uint32_t g = gate.load();
    return stop.load() || ((g & kOpen) != 0 && loop_of(g) != seen);
  }

  // Goes through the gate if it is open for a loop other than `seen`, which becomes the one it entered.
  bool enter(uint32_t& seen) {
    uint32_t g = gate.load(std::memory_order_acquire);
    while ((g & kOpen) != 0 && loop_of(g) != seen) {
      if (!gate.compare_exchange_weak(g, g + 1, std::memory_order_acq_rel)) continue;
      seen = loop_of(g);
      return true;
    }
    return false;
  }

  void leave() {
    const uint32_t before = gate.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kOpen) == 0 && (before & kInside) == 1) gate.notify_one();
  }

  void loop(int worker) {
    const ScopedFlushToZero mode;
    for (uint32_t seen = 0;;) {
      if (!wait_awake([&] { return waiting(seen); })) {
        for (;;) {
          // Read before looking: a loop that is offered afterwards changes it, and the wait returns at once.
          const uint32_t heard = bell.load();
          if (waiting(seen)) break;
          bell.wait(heard);
        }
      }
      if (stop.load()) return;
      if (!enter(seen)) continue;
      work(worker);
      leave();
    }
  }

  void offer(int64_t count, const std::function<void(int64_t, int)>& loop_body) {
    body = &loop_body;
    chunks = count;
    next.store(0);
    gate.store((loop_of(gate.load()) + 1) * kLoop + kOpen);
    bell.fetch_add(1);
    // No system call when all are awake.
    const int64_t useful = count - 1;
    if (useful >= static_cast<int64_t>(threads.size())) {
      bell.notify_all();
    } else {
      for (int64_t i = 0; i < useful; ++i) bell.notify_one();
    }
  }

  // Closes the gate and waits for those inside.
  void close() {
    gate.fetch_and(~kOpen, std::memory_order_acq_rel);
    const auto empty = [&] { return (gate.load(std::memory_order_acquire) & kInside) == 0; };
    if (wait_awake(empty)) return;
    for (uint32_t g = gate.load(std::memory_order_acquire); (g & kInside) != 0;
         g = gate.load(std::memory_order_acquire))
      gate.wait(g);
  }

  void account(Clock::time_point begin, Clock::time_point end_of_work, int64_t done) {
    const Clock::time_point now = Clock::now();
    const Nanoseconds waited = now - end_of_work;
    if (done == 0 || waited <= kAwake) return;
    const Nanoseconds lost = waited - kAwake - kChunksExpected * (end_of_work - begin) / done;
    if (lost.count() <= 0) return;
    alone = now < trusted_from ? std::min(2 * alone, kMostAlone) : kLeastAlone;
    alone_until = now + alone * lost;
    trusted_from = alone_until + alone * lost;
  }
};

Pool::Pool(int threads) : state_(std::make_unique<State>()) {
  HT_ASSERT(threads >= 1 && threads - 1 <= static_cast<int>(kInside), "{} threads", threads);
  start_threads(
      state_->threads, threads - 1, [state = state_.get()](int i) { state->loop(i + 1); },
      [this] { state_->end(); }, "threads", "--threads", 1);
}

Pool::~Pool() {
  state_->end();
  for (std::thread& thread : state_->threads) thread.join();
}

int Pool::threads() const {
  return static_cast<int>(state_->threads.size()) + 1;
}

void Pool::run(int64_t chunks, const std::function<void(int64_t, int)>& body) {
  const ScopedFlushToZero mode;
  State& s = *state_;
  Clock::time_point begin;
  if (chunks <= 1 || s.threads.empty() || (begin = Clock::now()) < s.alone_until) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
    return;
  }
  s.offer(chunks, body);
  const int64_t done = s.work(0);
  const Clock::time_point end_of_work = Clock::now();
  s.close();
  s.account(begin, end_of_work, done);
}

}  // namespace halftone::par
