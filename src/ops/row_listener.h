// Two nodes hand in hand: the early stage of one (ops::EarlyStage) runs on rows that the other has just
// written.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>

#include "ops/op.h"

namespace halftone::ops {

// Counts what is written, and runs each unit when its rows are complete, on the worker that completed them.
// Which worker that is changes no result: a unit is the same work wherever it runs.
class RowListener {
 public:
  // stage must outlive this. columns: elements of a row.
  RowListener(const EarlyStage& stage, int64_t columns)
      : stage_(stage),
        columns_(columns),
        units_((stage.rows + stage.unit - 1) / stage.unit),
        missing_(new std::atomic<int64_t>[static_cast<size_t>(units_)]) {}

  // Before the node that reports its rows runs. context: of the node whose early stage this is.
  void start(const RunContext& context) {
    context_ = &context;
    for (int64_t u = 0; u < units_; ++u)
      missing_[static_cast<size_t>(u)].store(rows_of(u) * columns_, std::memory_order_relaxed);
    if (stage_.prepare) stage_.prepare(context);
  }

  // `columns` more elements of each of the rows [first, first + rows) are there. Called by any worker.
  void wrote(int64_t first, int64_t rows, int64_t columns, int worker) {
    const int64_t end = first + rows;
    for (int64_t u = first / stage_.unit; u * stage_.unit < end; ++u) {
      const int64_t begin_here = std::max(first, u * stage_.unit);
      const int64_t here = (std::min(end, (u + 1) * stage_.unit) - begin_here) * columns;
      // Release: what was written is seen by whoever completes the unit, who acquires.
      if (missing_[static_cast<size_t>(u)].fetch_sub(here, std::memory_order_acq_rel) == here)
        stage_.run(*context_, u, worker);
    }
  }

  // After it has run: every unit must have been.
  bool complete() const {
    for (int64_t u = 0; u < units_; ++u)
      if (missing_[static_cast<size_t>(u)].load(std::memory_order_relaxed) != 0) return false;
    return true;
  }

 private:
  int64_t rows_of(int64_t u) const { return std::min(stage_.unit, stage_.rows - u * stage_.unit); }

  const EarlyStage& stage_;
  int64_t columns_, units_;
  std::unique_ptr<std::atomic<int64_t>[]> missing_;
  const RunContext* context_ = nullptr;
};

// To the node's listener, if it has one.
inline void report_rows(const RunContext& r, int64_t first, int64_t rows, int64_t columns, int worker) {
  if (r.row_listener != nullptr) r.row_listener->wrote(first, rows, columns, worker);
}

}  // namespace halftone::ops
