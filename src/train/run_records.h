// What a run's folder records while the run goes on: events.jsonl, and the same numbers for TensorBoard.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "train/event_log.h"
#include "train/observer.h"
#include "train/tensorboard.h"

namespace halftone::train {

class RunRecords final : public Observer {
 public:
  // Where the records of an earlier part of the run are taken up.
  struct Resumed {
    int64_t step = 0;
    int64_t event_bytes = -1;  // EventLog::resumed
  };
  // log_every: steps between two records. losses: of the network.
  RunRecords(const std::string& folder, int64_t log_every, std::vector<pass::LossNode> losses,
             const std::optional<Resumed>& resumed);

  void prepare(const StepReport& step) override;
  void report(const StepReport& step) override;
  void prepare(const EvaluationReport& evaluation) override;
  void report(const EvaluationReport& evaluation) override;

  // All records are on the disk, and how many bytes they are.
  void sync() { events_.sync(); }
  int64_t bytes() const { return events_.bytes(); }

 private:
  int64_t log_every_;
  std::vector<pass::LossNode> losses_;
  TensorBoardWriter tensorboard_;
  EventLog events_;
  std::string record_;  // prepared; empty: there is none
  std::vector<TaggedScalar> scalars_;
};

}  // namespace halftone::train
