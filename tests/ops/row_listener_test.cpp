// An early stage that runs hand in hand with the node before it: each unit once, when its rows are complete.
#include "ops/row_listener.h"

#include <gtest/gtest.h>

#include <array>

namespace halftone::ops {
namespace {

constexpr int64_t kRows = 103;
constexpr int64_t kColumns = 6;
constexpr int64_t kUnit = 10;

struct Tensor {
  std::array<std::atomic<int>, kRows> written{};  // elements of each row
  std::array<std::atomic<int>, (kRows + kUnit - 1) / kUnit> runs{};
  std::atomic<int> early{0};
  bool prepared = false;
  EarlyStage stage() {
    return {0, kRows, kUnit, [this](const RunContext&) { prepared = true; },
            [this](const RunContext&, int64_t unit, int) {
              runs[static_cast<size_t>(unit)]++;
              for (int64_t r = unit * kUnit; r < std::min((unit + 1) * kUnit, kRows); ++r)
                if (written[static_cast<size_t>(r)] != kColumns) early++;
            }};
  }
};

TEST(RowListener, RunsEachUnitOnceWhenItsRowsAreComplete) {
  for (const int threads : {1, 4})
    for (const int64_t piece : {1, 7, 10, 33, 103}) {
      Tensor t;
      const EarlyStage stage = t.stage();
      RowListener listener(stage, kColumns);
      par::Pool pool(threads);
      StepState state;
      const RunContext next{nullptr, nullptr, nullptr, pool, state};
      for (int again = 0; again < 3; ++again) {
        for (auto& w : t.written) w = 0;
        for (auto& r : t.runs) r = 0;
        listener.start(next);
        EXPECT_TRUE(t.prepared);
        EXPECT_FALSE(listener.complete());
        RunContext context{nullptr, nullptr, nullptr, pool, state};
        context.row_listener = &listener;
        const int64_t pieces = (kRows + piece - 1) / piece;
        // Two thirds of the columns in one go, the rest in another: rows are complete after both.
        pool.run(2 * pieces, [&](int64_t chunk, int worker) {
          const int64_t first = chunk / 2 * piece;
          const int64_t rows = std::min(piece, kRows - first);
          const int columns = chunk % 2 == 0 ? 4 : 2;
          for (int64_t r = first; r < first + rows; ++r) t.written[static_cast<size_t>(r)] += columns;
          report_rows(context, first, rows, columns, worker);
        });
        EXPECT_TRUE(listener.complete());
        EXPECT_EQ(t.early, 0);
        for (auto& r : t.runs) EXPECT_EQ(r, 1);
      }
    }
}

TEST(RowListener, WithoutOneNothingIsReported) {
  par::Pool pool(1);
  StepState state;
  report_rows(RunContext{nullptr, nullptr, nullptr, pool, state}, 0, 5, 1, 0);
}

}  // namespace
}  // namespace halftone::ops
