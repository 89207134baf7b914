// A fixed set of threads and one way to use them: a loop over chunks whose boundaries the caller fixes. A
// result may depend on the chunks, never on how many threads ran them, so results are the same on any number
// of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace halftone::par {

// FTZ and DAZ are on in every thread that runs kernels (docs/numerics.md): subnormal floats are slow, and
// fp16's smallest values are normal floats. Restores the caller's mode when it goes out of scope.
class ScopedFlushToZero {
 public:
  ScopedFlushToZero();
  ~ScopedFlushToZero();
  ScopedFlushToZero(const ScopedFlushToZero&) = delete;
  ScopedFlushToZero& operator=(const ScopedFlushToZero&) = delete;

 private:
  unsigned saved_;
};

class Pool {
 public:
  // `threads` >= 1, the caller's own included.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const;

  // body(chunk, worker) for each chunk in [0, chunks), each once, in no order; worker is in [0, threads()).
  // Returns when all are done. The body must not throw and must not call `run` of the same pool. FTZ/DAZ are
  // on inside it.
  void run(int64_t chunks, const std::function<void(int64_t chunk, int worker)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The processors this process may use (its affinity mask, not the machine's count).
int available_threads();

}  // namespace halftone::par
