// Two nodes hand in hand: the first stage of one (ops::Ahead) runs on rows that the other has just written.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>

#include "ops/op.h"

namespace halftone::ops {

// Counts what is written, and runs each unit when its rows are complete, on the worker that completed them. Which
// worker that is changes no result: a unit is the same work wherever it runs.
class Follower {
 public:
  // ahead must outlive this. columns: elements of a row.
  Follower(const Ahead& ahead, int64_t columns)
      : ahead_(ahead),
        columns_(columns),
        units_((ahead.rows + ahead.unit - 1) / ahead.unit),
        missing_(new std::atomic<int64_t>[static_cast<size_t>(units_)]) {}

  // Before the node that is followed runs. context: of the node whose first stage this is.
  void start(const RunContext& context) {
    context_ = &context;
    for (int64_t u = 0; u < units_; ++u)
      missing_[static_cast<size_t>(u)].store(rows_of(u) * columns_, std::memory_order_relaxed);
    if (ahead_.prepare) ahead_.prepare(context);
  }

  // `columns` more elements of each of the rows [first, first + rows) are there. Called by any worker.
  void wrote(int64_t first, int64_t rows, int64_t columns, int worker) {
    const int64_t end = first + rows;
    for (int64_t u = first / ahead_.unit; u * ahead_.unit < end; ++u) {
      const int64_t begin_here = std::max(first, u * ahead_.unit);
      const int64_t here = (std::min(end, (u + 1) * ahead_.unit) - begin_here) * columns;
      // Release: what was written is seen by whoever completes the unit, who acquires.
      if (missing_[static_cast<size_t>(u)].fetch_sub(here, std::memory_order_acq_rel) == here)
        ahead_.run(*context_, u, worker);
    }
  }

  // After it has run: every unit must have been.
  bool complete() const {
    for (int64_t u = 0; u < units_; ++u)
      if (missing_[static_cast<size_t>(u)].load(std::memory_order_relaxed) != 0) return false;
    return true;
  }

 private:
  int64_t rows_of(int64_t u) const { return std::min(ahead_.unit, ahead_.rows - u * ahead_.unit); }

  const Ahead& ahead_;
  int64_t columns_, units_;
  std::unique_ptr<std::atomic<int64_t>[]> missing_;
  const RunContext* context_ = nullptr;
};

// Tells the node's follower, if it has one.
inline void tell(const RunContext& r, int64_t first, int64_t rows, int64_t columns, int worker) {
  if (r.follower != nullptr) r.follower->wrote(first, rows, columns, worker);
}

}  // namespace halftone::ops
