// The batches of a step, in their order: from a loader, or given. What is not there yet is fetched when it is
// asked for.
#pragma once

#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "data/loader.h"

namespace halftone::train {

class StepBatches {
 public:
  // loader: of the training batches; null: they are given.
  explicit StepBatches(data::Loader* loader) : loader_(loader) {}

  // The step's are `count` from `first` of `epoch` on. Their memory is that of the step before.
  void load(int64_t epoch, int64_t first, int64_t count) {
    if (!positioned_) loader_->start(epoch, first);
    positioned_ = true;
    batches_.resize(static_cast<size_t>(count));
    epoch_ = epoch;
    first_ = first;
    fetched_ = 0;
    given_ = false;
  }
  void give(std::vector<data::Batch>&& batches) {
    batches_ = std::move(batches);
    fetched_ = batches_.size();
    given_ = true;
  }
  bool given() const { return given_; }

  // Its next batch is no longer the one that follows: the loader was used, or an epoch is over.
  void lose_place() { positioned_ = false; }

  const data::Batch& at(size_t micro) {
    while (fetched_ <= micro) {
      const double asked = now_seconds();
      HT_ASSERT(loader_->next(batches_[fetched_]), "epoch {} ended within the step of its batch {}", epoch_,
                first_);
      wait_seconds_ += now_seconds() - asked;
      ++fetched_;
    }
    return batches_[micro];
  }
  const std::vector<data::Batch>& all() {
    at(batches_.size() - 1);
    return batches_;
  }
  // Of the last step, as far as they were asked for.
  const std::vector<data::Batch>& fetched() const { return batches_; }

  // Seconds spent waiting since the last call.
  double take_wait_seconds() { return std::exchange(wait_seconds_, 0); }

 private:
  data::Loader* loader_;
  std::vector<data::Batch> batches_;
  int64_t epoch_ = 0, first_ = 0;
  size_t fetched_ = 0;
  bool given_ = false;
  bool positioned_ = false;
  double wait_seconds_ = 0;
};

}  // namespace halftone::train
